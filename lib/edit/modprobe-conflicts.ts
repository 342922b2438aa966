import { type Directive, type ModprobeFile, moduleName, optionWords, parseIdLists, parseModprobe } from './modprobe.ts'

/** A line that conflicts with the binding, and the reason. */
export interface ModprobeConflict {
  file: string
  line: number
  /** The line and the reason: `softdep vfio_pci pre: nouveau: loading vfio-pci loads nouveau first`. */
  what: string
}

/** A list of IDs that a line sets. */
export interface ConfiguredIds {
  file: string
  line: number
  ids: string[]
  /** The problems of the list, as texts for a person. */
  problems: string[]
}

/** vendor:device[:subvendor[:subdevice[:class[:mask]]]]. Source: vfio_pci_fill_ids() in the kernel's vfio_pci.c. */
const VFIO_ID = /^(?:0x)?[0-9a-f]{1,8}(?::(?:0x)?[0-9a-f]{1,8}){1,5}$/i

/** Is this text an ID that vfio-pci accepts? */
export function isVfioId(text: string): boolean {
  return VFIO_ID.test(text)
}

/** Does this ID of a list take every device that the other takes? A shorter one takes all boards, or all classes. */
export function coversId(id: string, other: string): boolean {
  return `${other.trim()}:`.toLowerCase().startsWith(`${id.trim()}:`.toLowerCase())
}

/** A first word that stood behind two blanks, one of which was cut off with the module's name. */
const TWO_BLANKS = /^\s\S+/

/** Returns every list of IDs that the module is given, with its problems, in the order in which it sees them. */
export function findIds(directives: readonly Directive[], module: string): ConfiguredIds[] {
  const found = optionsOf(directives, module).flatMap((directive) => {
    const lists = parseIdLists(directive.rest)
    return lists.map(({ at, members }) => ({
      ...directivePosition(directive),
      ids: nonEmptyIds(members),
      problems: problemsOf(directive.rest, at, members),
    }))
  })
  const last = found.at(-1)
  for (const set of found.slice(0, -1)) {
    if (last !== undefined && set.ids.some((id) => !last.ids.some((later) => coversId(later, id))))
      set.problems.push(`has no effect: the last ids= wins, and that is ${last.file}, line ${last.line}`)
  }
  return found
}

/**
 * Returns the options of the module that hold IDs and are no `ids=`: `vfio-pci.ids=…` is its name on the kernel command
 * line. The kernel ignores an option that the module does not have, and does not load it for an `ids` without a value.
 * Source: unknown_module_param_cb() in the kernel's kernel/module/main.c, parse_one() in kernel/params.c.
 */
export function findStrayIds(directives: readonly Directive[], module: string): ModprobeConflict[] {
  return optionsOf(directives, module).flatMap((directive) =>
    optionWords(directive.rest).flatMap(({ at, word }) => {
      const [name = '', value] = word.replaceAll('"', '').split(/=(.*)/s)
      const isLost = value === undefined && /\bids=[^\s"]+\s+$/.test(directive.rest.slice(0, at))
      if (name === 'ids' ? value !== undefined : !holdsIds(value ?? name) || isLost) return []
      const what = name === 'ids' ? `keeps ${module} from being loaded` : `is no option of ${module}, which gets no IDs`
      return [{ ...directivePosition(directive), what: `${word} ${what}: write ids=, and the IDs right behind it` }]
    }),
  )
}

/** Such a line without a comment: it names vfio or a stub, and an ID. */
const LIKE_IDS = /^(?!\s*#).*(vfio|stub).*\b[0-9a-f]{4}:[0-9a-f]{4}\b/i
const TAKERS = ['vfio_pci', 'pci_stub']

/**
 * Returns the lines that look like a list of IDs and give nobody any: modprobe understands no such line (`option …`), or
 * the module is another (`options vfio ids=…`).
 */
export function findDeadIds(files: readonly ModprobeFile[]): ModprobeConflict[] {
  return files.flatMap(({ path, text }) => {
    const understood = new Map(parseModprobe([{ path, text }]).map((one) => [one.line, one]))
    const lines = text.split('\n')
    return lines.flatMap((line, index) => {
      const one = understood.get(index + 1)
      const isContinued = lines[index - 1]?.endsWith('\\') ?? false
      const isAlive = one !== undefined && (one.command !== 'options' || TAKERS.includes(one.module))
      if (isAlive || isContinued || !LIKE_IDS.test(line)) return []
      return [
        { file: path, line: index + 1, what: `"${line.trim()}" gives no module IDs: write options vfio-pci ids=…` },
      ]
    })
  })
}

const holdsIds = (text: string): boolean => text.split(',').some((id) => isVfioId(id.trim()))

function problemsOf(options: string, at: number, members: readonly string[]): string[] {
  const problems = nonEmptyIds(members)
    .filter((id) => !isVfioId(id))
    .map((id) =>
      id.includes("'")
        ? `${id} is no ID: only double quotes are quotes here`
        : `${id} is no ID: vendor:device in hexadecimal digits, such as 10de:1cb6`,
    )
  // A space outside quotes ends the list: the text after it is another parameter, which the module does not know.
  const [end = ''] = /^[^\s"]*/.exec(options.slice(at)) ?? []
  const lost = /^\s+((?:[^\s"=]+\s*)+)(?=\s|$)/.exec(options.slice(at + end.length))?.[1]?.trim()
  if (
    options[at - 1] !== '"' &&
    lost !== undefined &&
    (end.endsWith(',') || /^,|^[\da-f]{1,8}:[\da-f]{1,8}\b/i.test(lost))
  )
    problems.push(`${lost} is lost: there must be no space in the list`)
  return problems
}

/**
 * Returns the lines that keep `module` from being loaded before the drivers `before`, or from getting its IDs. `ours`:
 * the name of our file. Each case was tried with kmod 30. `blacklist` is none: a softdep, and a modprobe that names the
 * module, load it all the same.
 *
 * Of several softdeps (or install commands) for one module, kmod uses only the first: kmod_module_get_softdeps().
 */
export function findModprobeConflicts(
  directives: readonly Directive[],
  { module, before, ours }: { module: string; before: readonly string[]; ours: string },
): ModprobeConflict[] {
  const found: ModprobeConflict[] = []
  const say = (directive: Directive, what: string): void => {
    found.push({ ...directivePosition(directive), what: `${directiveText(directive)}: ${what}` })
  }
  const first = (command: Directive['command'], name: string): Directive | undefined =>
    directives.find((one) => one.command === command && covers(one.module, name))

  const own = first('softdep', module)
  for (const driver of before) {
    if (own !== undefined && hasSoftdep(own, 'pre', driver)) say(own, `loading ${module} loads ${driver} first`)
    const softdep = first('softdep', driver)
    if (softdep === undefined || hasSoftdep(softdep, 'pre', module)) continue
    if (hasSoftdep(softdep, 'post', module)) say(softdep, `${module} comes after ${driver}`)
    // A softdep that is read after our file has no effect.
    else if (fileNameOf(softdep.file) < ours) {
      const no = TWO_BLANKS.test(softdep.rest)
        ? 'is not understood, for it has two blanks before pre:'
        : `has no pre: ${module}`
      say(softdep, `only the first softdep of ${driver} counts, and this one ${no}`)
    }
  }
  const install = first('install', module)
  // A command that calls modprobe itself does not keep the module out; somebody only does more with it.
  if (install !== undefined && !/\bmodprobe\b/.test(install.rest)) {
    const never = /^(\/usr)?(\/bin\/)?(true|false|:)\b|^:/.test(install.rest.trim())
    say(install, never ? `${module} is never loaded` : `only this program knows whether ${module} is loaded`)
  }
  const alias = first('alias', module)
  if (alias !== undefined && alias.rest !== moduleName(module)) say(alias, `${alias.rest} is loaded in its place`)

  const lists = optionsOf(directives, module).flatMap((directive) =>
    parseIdLists(directive.rest).map(({ members }) => ({ directive, ids: nonEmptyIds(members) })),
  )
  const last = lists.at(-1)
  if (last?.ids.length === 0 && lists.some(({ ids }) => ids.length > 0))
    say(last.directive, 'the last ids= wins, and it is empty')
  return found
}

/** Returns the modules that are loaded before a module: the `pre:` of the first softdep that covers it. */
export function loadedBefore(directives: readonly Directive[], module: string): string[] {
  const first = directives.find((one) => one.command === 'softdep' && covers(one.module, module))
  return first === undefined ? [] : softdeps(first, 'pre').map(moduleName)
}

/**
 * Returns the softdep line that loads `module` before `driver`, with the modules of the driver's first softdep so far:
 * r8169 brings `pre: realtek` in modules.softdep. The line must be read before that softdep, so from a file whose name
 * sorts before `modules.softdep` and before the person's files.
 */
export function softdepFor(directives: readonly Directive[], driver: string, module: string): string {
  const first = directives.find((one) => one.command === 'softdep' && covers(one.module, driver))
  const others = (kind: 'pre' | 'post'): string[] =>
    first === undefined ? [] : softdeps(first, kind).filter((name) => moduleName(name) !== moduleName(module))
  const [pre, post] = [others('pre'), others('post')]
  return ['softdep', driver, 'pre:', module, ...pre, ...(post.length > 0 ? ['post:', ...post] : [])].join(' ')
}

const nonEmptyIds = (members: readonly string[]): string[] => members.map((id) => id.trim()).filter((id) => id !== '')
const fileNameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1)
const directivePosition = ({ file, line }: Directive): { file: string; line: number } => ({ file, line })
const directiveText = ({ command, module, rest }: Directive): string => `${command} ${module} ${rest.trim()}`.trim()

function optionsOf(directives: readonly Directive[], module: string): Directive[] {
  return directives.filter((one) => one.command === 'options' && one.module === moduleName(module))
}

/**
 * Returns the modules after `pre:` or `post:`. These must be words of their own: `pre:vfio-pci` names no module. Nor
 * does a `pre:` behind two blanks (the second is part of the word), but behind three it does:
 * kmod_config_add_softdep().
 */
export function softdeps({ rest }: Pick<Directive, 'rest'>, kind: 'pre' | 'post'): string[] {
  const modules: string[] = []
  let mode: string | undefined
  for (const word of rest.replace(TWO_BLANKS, '').split(/\s+/)) {
    if (word === 'pre:' || word === 'post:') mode = word
    else if (word !== '' && mode === `${kind}:`) modules.push(word)
  }
  return modules
}

function hasSoftdep(softdep: Directive, kind: 'pre' | 'post', module: string): boolean {
  return softdeps(softdep, kind).some((name) => moduleName(name) === moduleName(module))
}

/** Does the pattern, one of fnmatch(3), match the module's name? */
export function covers(pattern: string, module: string): boolean {
  if (/^\w*$/.test(pattern)) return pattern === moduleName(module)
  const source = pattern.replace(/\[!?[^\]]+\]|[^\w]/g, (part) => {
    if (part === '*') return '.*'
    if (part === '?') return '.'
    return part.startsWith('[') && part.length > 1 ? part.replace('[!', '[^').replaceAll('\\', '\\\\') : `\\${part}`
  })
  try {
    return new RegExp(`^${source}$`, 's').test(moduleName(module))
  } catch {
    return false
  }
}
