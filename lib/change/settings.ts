import { addToCommandLine, type CommandLineLayout, cutFromCommandLine, isInCommandLine } from '../edit/command-line.ts'
import { addLibvirtMember, hasLibvirtMember, removeLibvirtMember } from '../edit/libvirt-conf.ts'
import { addListedId, hasListedId, removeListedId } from '../edit/listed-ids.ts'
import { addId, addLine, hasId, hasLine, removeId, removeLine } from '../edit/modprobe.ts'
import { addNixItem, hasNixItem, type NixItem, removeNixItem } from '../edit/nix.ts'
import { hasLines, swapLines } from '../edit/replaced-lines.ts'
import { addToVariable, cutFromVariable, isInVariable } from '../edit/shell-variables.ts'
import { addWord, hasWord, removeWord } from '../edit/word-lists.ts'
import { addYamlMember, hasYamlMember, removeYamlMember } from '../edit/yaml.ts'

/**
 * The content of a file, one character a byte (latin1), so that an edit keeps whatever other bytes the file holds.
 * `null`: there is no such file.
 */
export type Content = string | null

/** The functions that find a kind of setting in a file's text, add it and remove it; texts are one character a byte. */
interface SettingKind<Item> {
  /** The names of the item's fields that are texts and always there. */
  fields: readonly (keyof Item & string)[]
  has(text: string, item: Item): boolean
  add(text: string, item: Item): string
  remove(text: string, item: Item): string
  /** The item as a person reads it in `--status`. */
  show(item: Item): string
}

const kindOf = <Item>(kind: SettingKind<Item>): SettingKind<Item> => kind

/** The text by which whole files of our own are recognized. */
const OWN_MARK = 'Written by vfio-scripts'

/** Every kind of setting: a whole file, an edit in one syntax, or a value that another tool keeps. */
const KINDS = {
  /** A whole file of our own; it is removed as a whole, with whatever somebody changed in it. */
  file: kindOf<{ content: string }>({
    fields: ['content'],
    has: (text, { content }) => text === content,
    add: (_, { content }) => content,
    remove: (text) => (text.includes(OWN_MARK) ? '' : text),
    show: ({ content }) => content.trimEnd().split('\n').at(-1) ?? '',
  }),
  /** A whole line. */
  line: kindOf<{ line: string }>({
    fields: ['line'],
    has: (text, { line }) => hasLine(text, line),
    add: (text, { line }) => addLine(text, line),
    remove: (text, { line }) => removeLine(text, line),
    show: ({ line }) => line,
  }),
  /** Lines of a person's file that other lines replace. Both are whole lines, without the newline of the last one. */
  'replaced-lines': kindOf<{ from: string; to: string }>({
    fields: ['from', 'to'],
    has: (text, { to }) => hasLines(text, to),
    add: (text, { from, to }) => swapLines(text, from, to),
    remove: (text, { from, to }) => swapLines(text, to, from),
    show: ({ to }) => to,
  }),
  /** An ID in `options MODULE ids=…` (modprobe.d(5)). */
  'modprobe-id': kindOf<{ module: string; id: string }>({
    fields: ['module', 'id'],
    has: (text, { module, id }) => hasId(text, module, id),
    add: (text, { module, id }) => addId(text, module, id),
    remove: (text, { module, id }) => removeId(text, module, id),
    show: ({ module, id }) => `${module} ids=${id}`,
  }),
  /** An ID beside a module's name in a list of modules to load: `vfio-pci ids=…` in /etc/initramfs-tools/modules. */
  'listed-id': kindOf<{ module: string; id: string }>({
    fields: ['module', 'id'],
    has: (text, { module, id }) => hasListedId(text, module, id),
    add: (text, { module, id }) => addListedId(text, module, id),
    remove: (text, { module, id }) => removeListedId(text, module, id),
    show: ({ module, id }) => `${module} ids=${id}`,
  }),
  /**
   * A kernel argument in a variable of a shell file such as /etc/default/grub: `intel_iommu=on`, or one member of a
   * list such as `vfio-pci.ids=10de:1cb6`.
   */
  'shell-argument': kindOf<{ variable: string; token: string }>({
    fields: ['variable', 'token'],
    has: (text, { variable, token }) => isInVariable(text, variable, token),
    add: (text, { variable, token }) => addToVariable(text, variable, token),
    remove: (text, { variable, token }) => cutFromVariable(text, variable, token),
    show: ({ token }) => token,
  }),
  /** The same kernel argument in a file that is a command line, or that has one in some of its lines. */
  'command-line': kindOf<{ layout: CommandLineLayout; token: string }>({
    fields: ['layout', 'token'],
    has: (text, { layout, token }) => isInCommandLine(text, layout, token),
    add: (text, { layout, token }) => addToCommandLine(text, layout, token),
    remove: (text, { layout, token }) => cutFromCommandLine(text, layout, token),
    show: ({ token }) => token,
  }),
  /**
   * A word in a bash array or string such as HOOKS of mkinitcpio.conf, behind the word `after`, or in front of all
   * without it. `posix`: other shells than bash, which have no arrays, read the file too.
   */
  'shell-word': kindOf<{ variable: string; word: string; after?: string; posix?: true }>({
    fields: ['variable', 'word'],
    has: (text, { variable, word }) => hasWord(text, variable, word),
    add: (text, { variable, word, after, posix }) => addWord(text, variable, word, after, posix),
    remove: (text, { variable, word }) => removeWord(text, variable, word),
    show: ({ variable, word }) => `${word} in ${variable}`,
  }),
  /** A member of a list with commas in a YAML file. */
  'yaml-member': kindOf<{ variable: string; word: string }>({
    fields: ['variable', 'word'],
    has: (text, { variable, word }) => hasYamlMember(text, variable, word),
    add: (text, { variable, word }) => addYamlMember(text, variable, word),
    remove: (text, { variable, word }) => removeYamlMember(text, variable, word),
    show: ({ variable, word }) => `${word} in ${variable}`,
  }),
  /** A string in a list of one of libvirt's own files such as qemu.conf. */
  'libvirt-member': kindOf<{ variable: string; word: string }>({
    fields: ['variable', 'word'],
    has: (text, { variable, word }) => hasLibvirtMember(text, variable, word),
    add: (text, { variable, word }) => addLibvirtMember(text, variable, word),
    remove: (text, { variable, word }) => removeLibvirtMember(text, variable, word),
    show: ({ variable, word }) => `${word} in ${variable}`,
  }),
  /** A member of an option's list in a NixOS module of our own; `head` is that module without any member. */
  'nix-item': kindOf<NixItem>({
    fields: ['option', 'form', 'item'],
    has: hasNixItem,
    add: addNixItem,
    remove: removeNixItem,
    show: ({ option, item }) => `${option}: ${item.trim().split('\n')[0]}`,
  }),
  /**
   * A value that a tool keeps in its own way: grubby, rpm-ostree, a package manager, services, a PCI function's driver.
   * It is in no file: commands of the tool add and remove it. `token`: a kernel argument, a package or another value.
   */
  external: kindOf<{ tool: string; token: string }>({
    fields: ['tool', 'token'],
    has: () => false,
    add: (text) => text,
    remove: (text) => text,
    show: ({ token }) => token,
  }),
}

type Kinds = typeof KINDS

interface SettingBase {
  /** The path of the file, without symbolic links, as seen from the root; empty for what a tool keeps. */
  path: string
  /**
   * The text at the start of a file of our own that several settings share: when nothing but this is left, the file is
   * removed. Without `head` the file is the person's and stays, unless the setting is a whole file.
   */
  head?: string
  /** The permissions of a file of our own; 0o644 unless given. */
  mode?: number
  /** The reason that the plan shows. Nothing is decided by it. */
  reason: string
}

/** A setting of one kind. */
export type SettingOf<K extends keyof Kinds> = {
  [Kind in K]: SettingBase & { kind: Kind } & Parameters<Kinds[Kind]['show']>[0]
}[K]

/** One edit of a file, or one value that a tool keeps. Plan, status and undo handle it as its row in `KINDS` says. */
export type Setting = SettingOf<keyof Kinds>

/** A setting of a plan, with its owners. */
export type PlannedSetting = Setting & {
  /** The addresses of functions, features of tune-host, `host` for all of it, `confirm` for the confirm timer. */
  owners: readonly string[]
  /** The values of options that the setting itself does not show: `{ bridge: 'br0', port: 'eth0' }`. */
  request?: Readonly<Record<string, string>>
}

/** Returns the comment at the start of a file that one script owns; by default, a script that binds devices. */
export function headComment(script = 'bind-vfio or override-same-id-gpu'): string {
  return `# ${OWN_MARK}; ${script} --undo --apply takes it back.\n`
}

/** Returns a text whose first comments do not say that a script takes it back: it is for another system. */
export function withoutUndo(text: string): string {
  return text.replace(new RegExp(`^(# ${OWN_MARK}); .*--undo --apply.*$`, 'gm'), '$1 for an image.')
}

/** The comment at the start of a file that several scripts put settings into. */
export const SHARED_HEAD = `# ${OWN_MARK}; bind-vfio, override-same-id-gpu and tune-host take out their own with --undo --apply.\n`

function rowOf(setting: Setting): SettingKind<Setting> {
  return KINDS[setting.kind] as unknown as SettingKind<Setting>
}

const isText = (value: unknown): value is string => typeof value === 'string'

/** Is this value a setting of a plan, with all fields that its kind needs? */
export function isSetting(value: unknown): value is PlannedSetting {
  if (typeof value !== 'object' || value === null) return false
  const all = value as Record<string, unknown>
  const { kind } = value as Setting
  if (!Object.hasOwn(KINDS, kind)) return false
  const { head, mode, owners, request = {} } = all
  return (
    ['path', 'reason', ...KINDS[kind].fields].every((name) => isText(all[name])) &&
    (head === undefined || isText(head)) &&
    (mode === undefined || typeof mode === 'number') &&
    Array.isArray(owners) &&
    owners.every(isText) &&
    typeof request === 'object' &&
    request !== null &&
    Object.values(request).every(isText)
  )
}

/** Does the file hold the setting? Never for what a tool keeps. */
export function hasSetting(content: Content, setting: Setting): boolean {
  return content !== null && rowOf(setting).has(content, setting)
}

/** Returns the file's text with the setting in it; unchanged when it has the setting already. */
export function addSetting(content: Content, setting: Setting): string {
  const text = content ?? setting.head ?? ''
  return hasSetting(text, setting) ? text : rowOf(setting).add(text, setting)
}

/** Returns the file's text without the setting; `null` when nothing is left of a file of our own. */
export function removeSetting(content: Content, setting: Setting): Content {
  if (content === null) return null
  const text = rowOf(setting).remove(content, setting)
  return text === (setting.kind === 'file' ? '' : setting.head) ? null : text
}

/** Returns the setting as a person reads it in `--status`. */
export function showSetting(setting: Setting): string {
  return rowOf(setting).show(setting)
}

/** Is the setting in a file of our own, which nobody else writes? */
export function isInOwnFile({ kind, head }: Setting): boolean {
  return kind === 'file' || head !== undefined
}

/** Returns the kernel argument that a setting puts into a file or has a tool of these boot loaders keep, if any. */
export function kernelArgumentIn(setting: Setting, loaders: readonly (string | null)[]): string | undefined {
  const { kind } = setting
  const kept = kind === 'external' && loaders.includes(setting.tool)
  return kept || kind === 'shell-argument' || kind === 'command-line' ? setting.token : undefined
}

/** Returns the tokens of those settings that this tool keeps. */
export function tokensKeptBy(settings: readonly Setting[], tool: string): string[] {
  return settings.flatMap((one) => (one.kind === 'external' && one.tool === tool ? [one.token] : []))
}

/** Returns a key that equal settings share: it leaves out their reason, owners, request and head. */
export function settingKey(planned: Setting | PlannedSetting): string {
  const ignored = ['reason', 'owners', 'request', 'head']
  const entries = Object.entries(planned).filter(([name]) => !ignored.includes(name))
  return JSON.stringify(entries.sort(([one], [other]) => (one < other ? -1 : 1)))
}
