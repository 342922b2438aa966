import { addToCommandLine, type CommandLineLayout, cutFromCommandLine, isInCommandLine } from '../edit/command-line.ts'
import { addLibvirtMember, hasLibvirtMember, removeLibvirtMember } from '../edit/libvirt-conf.ts'
import { addId, addLine, hasId, hasLine, removeId, removeLine } from '../edit/modprobe.ts'
import { addNixItem, hasNixItem, type NixItem, removeNixItem } from '../edit/nix.ts'
import { addToVariable, cutFromVariable, isInVariable } from '../edit/shell-variables.ts'
import { addWord, hasWord, removeWord } from '../edit/word-lists.ts'
import { addYamlMember, hasYamlMember, removeYamlMember } from '../edit/yaml.ts'

/**
 * A file's content, one character a byte (latin1): whatever bytes a person's file holds come through an edit unharmed.
 * `null`: there is no such file.
 */
export type Content = string | null

/** One thing that a file can say. It knows how it is read, added and removed; plan, status and undo use nothing else. */
export type Setting =
  | LineSetting
  | IdSetting
  | ArgumentSetting
  | CommandLineSetting
  | WordSetting
  | YamlMemberSetting
  | LibvirtSetting
  | NixItemSetting
  | ReplaceSetting
  | ExternalSetting

interface SettingBase {
  /** The file, without symbolic links, as seen from the root; empty for what a program keeps. */
  path: string
  /**
   * Of a file of our own: the text that it starts with. When nothing but this is left, the file goes. Without it the
   * file is the person's and stays.
   */
  head?: string
  /** Permissions of a file of our own; 0o644 unless told. */
  mode?: number
  /** Why it is there, for the plan. */
  reason: string
}

/** A whole line. */
export interface LineSetting extends SettingBase {
  kind: 'line'
  line: string
}

/** An ID in `options MODULE ids=…` (modprobe.d(5)). */
export interface IdSetting extends SettingBase {
  kind: 'id'
  module: string
  id: string
}

/** A kernel argument in a variable of a shell file such as /etc/default/grub. */
export interface ArgumentSetting extends SettingBase {
  kind: 'argument'
  variable: string
  /** `intel_iommu=on`; of a list such as `vfio-pci.ids=10de:1cb6`, one member. */
  token: string
}

/** A kernel argument in a file that is a command line, or has one in some of its lines. */
export interface CommandLineSetting extends SettingBase {
  kind: 'cmdline'
  layout: CommandLineLayout
  /** As of `ArgumentSetting`. */
  token: string
}

/** A word in a bash array or string such as HOOKS of mkinitcpio.conf. */
export interface WordSetting extends SettingBase {
  kind: 'word'
  variable: string
  word: string
  /** The word that it stands behind; without it, it stands in front of all. */
  after?: string
  /** A file that other shells than bash read, which have no arrays. */
  posix?: true
}

/** A member of a list with commas in a YAML file. */
export interface YamlMemberSetting extends SettingBase {
  kind: 'member'
  variable: string
  word: string
}

/** A string in a list of one of libvirt's own files such as qemu.conf. */
export interface LibvirtSetting extends SettingBase {
  kind: 'entry'
  variable: string
  word: string
}

/** A member of an option's list in a NixOS module of our own; `head` is that module without any. */
export interface NixItemSetting extends SettingBase, NixItem {
  kind: 'item'
}

/** Lines of a person's file that come to say something else. Both are whole lines, without the last one's end. */
export interface ReplaceSetting extends SettingBase {
  kind: 'replace'
  from: string
  to: string
}

/** What a program keeps in a way of its own: grubby, rpm-ostree. Its adapter's commands add and remove it. */
export interface ExternalSetting extends SettingBase {
  kind: 'kept'
  /** The adapter's name. */
  by: string
  /** A kernel argument, or what else the adapter understands. */
  token: string
}

/** A setting of a plan, and the addresses of the devices that need it; `host`: no device of its own. */
export type PlannedSetting = Setting & { devices: readonly string[] }

/** The comment that a file of one script's own starts with; unless told, of one that binds devices. */
export function headComment(script = 'bind-vfio or override-same-id-gpu'): string {
  return `# Written by vfio-scripts; ${script} --undo --apply takes it back.\n`
}

/** That of a file which several scripts put settings into. */
export const SHARED_HEAD =
  '# Written by vfio-scripts; bind-vfio, override-same-id-gpu and tune-host take out their own with --undo --apply.\n'

/** How a kind of setting is read, added and removed; texts are one character a byte. */
interface SettingEditor<S> {
  /** Beside its place: what it holds, text each. */
  fields: readonly (keyof S & string)[]
  has(text: string, setting: S): boolean
  add(text: string, setting: S): string
  remove(text: string, setting: S): string
}

const FORMS: { [K in Setting['kind']]: SettingEditor<Extract<Setting, { kind: K }>> } = {
  line: {
    fields: ['line'],
    has: (text, { line }) => hasLine(text, line),
    add: (text, { line }) => addLine(text, line),
    remove: (text, { line }) => removeLine(text, line),
  },
  id: {
    fields: ['module', 'id'],
    has: (text, { module, id }) => hasId(text, module, id),
    add: (text, { module, id }) => addId(text, module, id),
    remove: (text, { module, id }) => removeId(text, module, id),
  },
  argument: {
    fields: ['variable', 'token'],
    has: (text, { variable, token }) => isInVariable(text, variable, token),
    add: (text, { variable, token }) => addToVariable(text, variable, token),
    remove: (text, { variable, token }) => cutFromVariable(text, variable, token),
  },
  cmdline: {
    fields: ['layout', 'token'],
    has: (text, { layout, token }) => isInCommandLine(text, layout, token),
    add: (text, { layout, token }) => addToCommandLine(text, layout, token),
    remove: (text, { layout, token }) => cutFromCommandLine(text, layout, token),
  },
  word: {
    fields: ['variable', 'word'],
    has: (text, { variable, word }) => hasWord(text, variable, word),
    add: (text, { variable, word, after, posix }) => addWord(text, variable, word, after, posix),
    remove: (text, { variable, word }) => removeWord(text, variable, word),
  },
  member: {
    fields: ['variable', 'word'],
    has: (text, { variable, word }) => hasYamlMember(text, variable, word),
    add: (text, { variable, word }) => addYamlMember(text, variable, word),
    remove: (text, { variable, word }) => removeYamlMember(text, variable, word),
  },
  entry: {
    fields: ['variable', 'word'],
    has: (text, { variable, word }) => hasLibvirtMember(text, variable, word),
    add: (text, { variable, word }) => addLibvirtMember(text, variable, word),
    remove: (text, { variable, word }) => removeLibvirtMember(text, variable, word),
  },
  item: { fields: ['option', 'form', 'item'], has: hasNixItem, add: addNixItem, remove: removeNixItem },
  replace: {
    fields: ['from', 'to'],
    has: (text, { to }) => findLines(text, to) >= 0,
    add: (text, { from, to }) => swapLines(text, from, to),
    remove: (text, { from, to }) => swapLines(text, to, from),
  },
  kept: { fields: ['by', 'token'], has: () => false, add: (text) => text, remove: (text) => text },
}

/** Where whole lines stand; -1 when they do not. */
function findLines(text: string, lines: string): number {
  return `\n${text}\n`.indexOf(`\n${lines}\n`)
}

function swapLines(text: string, from: string, to: string): string {
  const at = findLines(text, from)
  return at < 0 ? text : text.slice(0, at) + to + text.slice(at + from.length)
}

function editorOf(setting: Setting): SettingEditor<Setting> {
  return FORMS[setting.kind] as SettingEditor<Setting>
}

/** Is this the value of a setting, with all that its kind needs? */
export function isSetting(value: unknown): value is PlannedSetting {
  if (typeof value !== 'object' || value === null) return false
  const all = value as Record<string, unknown>
  const { kind } = value as Setting
  if (!Object.hasOwn(FORMS, kind)) return false
  const texts = ['path', 'reason', ...FORMS[kind].fields].every((name) => typeof all[name] === 'string')
  const { head, mode, devices } = all
  const place = (head === undefined || typeof head === 'string') && (mode === undefined || typeof mode === 'number')
  return texts && place && Array.isArray(devices) && devices.every((one) => typeof one === 'string')
}

/** Does the file say it? */
export function hasSetting(content: Content, setting: Setting): boolean {
  return content !== null && editorOf(setting).has(content, setting)
}

/** The file with the setting in it: the same text when it says so already. */
export function addSetting(content: Content, setting: Setting): string {
  const text = content ?? setting.head ?? ''
  return hasSetting(text, setting) ? text : editorOf(setting).add(text, setting)
}

/** The file without the setting; `null` when a file of our own has nothing left to say. */
export function removeSetting(content: Content, setting: Setting): Content {
  if (content === null) return null
  const text = editorOf(setting).remove(content, setting)
  return setting.head !== undefined && text === setting.head ? null : text
}

/** What tells two settings apart: all but the reason, who needs it, and whether the file was there already. */
export function settingKey(planned: Setting | PlannedSetting): string {
  const { reason: _reason, devices: _devices, head: _head, ...setting } = { devices: [], head: '', ...planned }
  return JSON.stringify(Object.entries(setting).sort(([one], [other]) => (one < other ? -1 : 1)))
}
