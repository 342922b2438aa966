import { type KernelArgument, parseCommandLine } from '../host/kernel.ts'

// A kernel command line as ordered tokens. Order and quotes stay: `hugepagesz=` must come before its `hugepages=`.

/** The names of arguments that hold a list. The last list wins, so members are added to it, never a second list. */
const LISTS = /^((vfio_pci|pci_stub)\.ids|module_blacklist)$/

/** Is the argument a member of such a list? */
export function isListMember(token: string): boolean {
  return LISTS.test(parseCommandLine(token)[0]?.name ?? '')
}

/**
 * Does the line have the argument? For a list such as `vfio-pci.ids=10de:1cb6`, the last list of that name must have
 * all of its members; for others, the value or one of the values between commas (`intel_iommu=on,sm_on`) must be equal.
 * `-` and `_` are the same in names.
 */
export function hasArgument(line: string, token: string): boolean {
  const [required] = parseCommandLine(token)
  const same = placedArguments(line).filter(({ name }) => name === required?.name)
  if (required === undefined || same.length === 0) return false
  const { value } = required
  if (value === undefined) return true
  if (LISTS.test(required.name)) return value.split(',').every((one) => findListMember(same.at(-1), one) !== undefined)
  return same.some((one) => one.value === value || one.value?.split(',').includes(value))
}

/** Finds the place for the argument, and its text with a blank or comma; `undefined` when the line has it. */
export function findInsertion(line: string, token: string): { at: number; text: string } | undefined {
  if (hasArgument(line, token)) return undefined
  const all = placedArguments(line)
  const [required] = parseCommandLine(token)
  const list = LISTS.test(required?.name ?? '') ? all.filter(({ name }) => name === required?.name).at(-1) : undefined
  // A quote that closes the list stays at its end. An empty list stays: the new one behind it wins.
  if (list?.value) {
    const at = list.at + list.token.replace(/"+$/, '').length
    return { at, text: `,${required?.value}` }
  }
  const end = endOfArguments(line)
  if (end < line.length) return { at: end, text: `${token} ` }
  return { at: end, text: line === '' ? token : ` ${token}` }
}

/** Finds the range of the last such argument or member, with one blank or comma; for a sole member, the whole list. */
export function findArgumentRange(line: string, token: string): { from: number; to: number } | undefined {
  const [required] = parseCommandLine(token)
  const same = placedArguments(line).filter(({ name }) => name === required?.name)
  const isList = required?.value !== undefined && LISTS.test(required.name)
  const found = same
    .filter((one) => (isList ? findListMember(one, `${required.value}`) !== undefined : one.value === required?.value))
    .at(-1)
  if (found === undefined) return undefined
  const member = isList ? findListMember(found, `${required.value}`) : undefined
  if (member !== undefined && !member.only) return member
  const to = found.at + found.token.length
  if (/\s/.test(line[found.at - 1] ?? '')) return { from: found.at - 1, to }
  return { from: found.at, to: /\s/.test(line[to] ?? '') ? to + 1 : to }
}

/** Returns the line with the argument at its end, or the member at the end of its list; unchanged when it has it. */
export function addArgument(line: string, token: string): string {
  const place = findInsertion(line, token)
  return place === undefined ? line : line.slice(0, place.at) + place.text + line.slice(place.at)
}

/** Returns the line without the argument, or without the member of its list. */
export function removeArgument(line: string, token: string): string {
  const range = findArgumentRange(line, token)
  return range === undefined ? line : line.slice(0, range.from) + line.slice(range.to)
}

type PlacedArgument = KernelArgument & { at: number }

/** Returns the kernel's arguments, each with its start; those behind `--` are for init. */
function placedArguments(line: string): PlacedArgument[] {
  let from = 0
  return parseCommandLine(line.slice(0, endOfArguments(line))).map((argument) => {
    const at = line.indexOf(argument.token, from)
    from = at + argument.token.length
    return { ...argument, at }
  })
}

/** Returns the place of `--`, or the end of the line. Source: parse_args() in the kernel's kernel/params.c. */
function endOfArguments(line: string): number {
  let from = 0
  for (const { token } of parseCommandLine(line)) {
    const at = line.indexOf(token, from)
    if (token === '--') return at
    from = at + token.length
  }
  return line.length
}

/** Finds a member's range with the comma before it (for the first one, that after it). The case of IDs is ignored. */
function findListMember(
  list: PlacedArgument | undefined,
  id: string,
): { from: number; to: number; only: boolean } | undefined {
  if (list?.value === undefined) return undefined
  const start = list.at + (/^[^=]*="*/.exec(list.token.replace(/"+$/, ''))?.[0].length ?? 0)
  const members = list.value.split(',')
  const index = members.findIndex((member) => member.toLowerCase() === id.toLowerCase())
  if (index < 0) return undefined
  const from = start + (index === 0 ? 0 : members.slice(0, index).join(',').length)
  const only = members.filter((member) => member !== '').length === 1
  return { from, to: from + (members[index] ?? '').length + 1, only }
}
