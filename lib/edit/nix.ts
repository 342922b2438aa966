import { addArgument, hasArgument, isListMember, removeArgument } from './kernel-arguments.ts'

// The lists of a NixOS module of our own. Its text has one attribute a line, indented by two spaces; anything that
// somebody added beside these lists stays as it is.

/** The form of an option: a list of kernel arguments, strings, Nix expressions or lines of text; or one whole text. */
export type NixForm = 'arguments' | 'strings' | 'expressions' | 'lines' | 'whole'

/** One member of an option's list. */
export interface NixItem {
  /** The name of the option, such as `boot.kernelParams`. */
  option: string
  form: NixForm
  item: string
}

/** The options of a module in the order in which they are written. */
const ORDER = [
  'boot.kernelParams',
  'boot.initrd.kernelModules',
  'boot.extraModprobeConfig',
  'boot.blacklistedKernelModules',
  'environment.etc."vfio-scripts/functions".text',
  'imports',
]

/** Does the module have the member in the option's list (`whole`: the text anywhere)? */
export function hasNixItem(text: string, { option, form, item }: NixItem): boolean {
  if (form === 'whole') return text.includes(item)
  const items = findNixList(text, option, form)?.items ?? []
  return form === 'arguments' ? items.some((one) => hasArgument(one, item)) : items.includes(item)
}

/** Returns the module with the member in the option's list; unchanged where it has no place for it. */
export function addNixItem(text: string, one: NixItem): string {
  const { option, form, item } = one
  if (hasNixItem(text, one)) return text
  // Nix accepts an attribute only once.
  if (form === 'whole' && new RegExp(`^  ${escapePattern(option)} =`, 'm').test(text)) return text
  const block = form === 'whole' ? undefined : findNixList(text, option, form)
  if (block !== undefined) return replaceNixList(text, block, form, [...withNixItem(block.items, form, item)])
  const later = ORDER.slice(ORDER.indexOf(option) + 1).map((name) =>
    text.search(new RegExp(`^  ${escapePattern(name)} =`, 'm')),
  )
  const options = text.search(/^ {2}virtualisation\./m)
  const at = [
    ...(ORDER.includes(option) ? later : []),
    ORDER.includes(option) ? options : -1,
    text.search(/^\}\s*$/m),
  ].find((place) => place >= 0)
  if (at === undefined) return text
  const written = form === 'whole' ? item : renderNixList(option, form, [item])
  const last = text.startsWith('}', at)
  if (last && text.endsWith('{\n', at)) return text.slice(0, at) + written + text.slice(at)
  return text.slice(0, at) + (last ? `\n${written}` : `${written}\n`) + text.slice(at)
}

/** Returns the module without the member; a list that is empty then is removed. */
export function removeNixItem(text: string, one: NixItem): string {
  const { option, form, item } = one
  if (!hasNixItem(text, one)) return text
  if (form === 'whole') return cutNixSection(text, text.indexOf(item), item.length)
  const block = findNixList(text, option, form)
  if (block === undefined) return text
  const left = form === 'arguments' ? withoutNixItem(block.items, item) : block.items.filter((each) => each !== item)
  return left.length > 0 ? replaceNixList(text, block, form, left) : cutNixSection(text, block.at, block.text.length)
}

/** Returns the text without this stretch, and without one of the blank lines around it. */
function cutNixSection(text: string, at: number, length: number): string {
  const [before, after] = [text.slice(0, at), text.slice(at + length)]
  return after.startsWith('\n') ? before + after.slice(1) : before.replace(/\n\n$/, '\n') + after
}

function withNixItem(items: readonly string[], form: NixForm, item: string): readonly string[] {
  if (form !== 'arguments') return [...items, item]
  // A list of IDs is completed in its place.
  const at = items.findIndex((one) => addArgument(one, item) !== `${one} ${item}`)
  return at < 0 ? [...items, item] : items.map((one, index) => (index === at ? addArgument(one, item) : one))
}

function withoutNixItem(items: readonly string[], item: string): string[] {
  const at = items.findIndex((one) => hasArgument(one, item))
  return items.map((one, index) => (index === at ? removeArgument(one, item) : one)).filter((one) => one !== '')
}

interface NixListBlock {
  option: string
  at: number
  text: string
  items: string[]
}

function findNixList(text: string, option: string, form: NixForm): NixListBlock | undefined {
  const [open, close] = form === 'lines' ? ["''\\n", "^  ''"] : [`(?:${escapePattern(AT_END)})?\\[`, '\\]']
  const pattern = new RegExp(`^  ${escapePattern(option)} = ${open}(?<inner>[\\s\\S]*?)${close};\\n`, 'm')
  const found = pattern.exec(text)
  if (found === null) return undefined
  const inner = found.groups?.inner ?? ''
  return { option, at: found.index, text: found[0], items: parseNixItems(inner, form) }
}

function parseNixItems(inner: string, form: NixForm): string[] {
  if (form === 'expressions') return inner.split(/\s+/).filter(Boolean)
  if (form === 'lines')
    return inner
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) =>
        line.replace(/^ {4}/, '').replace(/''(\$\{|')/g, (_, text: string) => (text === "'" ? "''" : text)),
      )
  return [...inner.matchAll(/"((?:[^"\\]|\\[\s\S])*)"/g)].map(([, text = '']) => text.replace(/\\([\s\S])/g, '$1'))
}

/** Returns the text with the list written anew; a list in another layout only loses and gains single members. */
function replaceNixList(text: string, block: NixListBlock, form: NixForm, items: readonly string[]): string {
  const [before, after] = [text.slice(0, block.at), text.slice(block.at + block.text.length)]
  const plain = renderNixList(block.option, form, block.items)
  if (block.text === plain || block.text === plain.replace(AT_END, ''))
    return before + renderNixList(block.option, form, items) + after
  let changed = block.text
  const gone = block.items.filter((one) => !items.includes(one))
  const come = items.filter((one) => !block.items.includes(one))
  for (const [index, one] of gone.entries()) {
    const [old, next] = [renderNixItem(one, form), come[index]]
    if (next !== undefined) changed = changed.replace(old, () => renderNixItem(next, form))
    else
      changed = changed.replace(
        new RegExp(`^[ \\t]*${escapePattern(old)}[ \\t]*\\n|[ \\t]*${escapePattern(old)}`, 'm'),
        '',
      )
  }
  const end = form === 'lines' ? "  '';\n" : /\n *\];\n$/.test(changed) ? '  ];\n' : ' ];\n'
  for (const one of come.slice(gone.length)) {
    const line = end.startsWith('  ') ? `    ${renderNixItem(one, form)}\n` : ` ${renderNixItem(one, form)}`
    changed = changed.slice(0, -end.length) + line + end
  }
  return before + changed + after
}

/** Of several lists of IDs on the kernel command line the last counts, so that with ours comes behind all others. */
const AT_END = 'pkgs.lib.mkAfter '

/** Returns the list in the layout of nixfmt: a sole member on the same line, several below each other. */
function renderNixList(option: string, form: NixForm, items: readonly string[]): string {
  const lines = items.map((one) => `    ${renderNixItem(one, form)}\n`).join('')
  if (form === 'lines') return `  ${option} = ''\n${lines}  '';\n`
  const order = form === 'arguments' && items.some(isListMember) ? AT_END : ''
  return `  ${option} = ${order}${items.length === 1 ? `[ ${lines.trim()} ]` : `[\n${lines}  ]`};\n`
}

function renderNixItem(item: string, form: NixForm): string {
  if (form === 'expressions') return item
  return form === 'lines' ? nixLines(item) : nixString(item)
}

/** Returns the text as it is written between '' and '' in Nix. */
export function nixLines(text: string): string {
  return text.replace(/''|\$\{/g, (match) => (match === "''" ? "'''" : "''${"))
}

/** Returns the text as a Nix string with its quotes. Source: the Nix manual, String literals. */
export function nixString(text: string): string {
  return `"${text.replace(/["\\]|\$\{/g, (match) => `\\${match}`)}"`
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
