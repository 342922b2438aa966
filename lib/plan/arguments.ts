import { type KernelArgument, parseCommandLine } from '../host/kernel.ts'

// A kernel command line as ordered tokens. Order and quotes stay: `hugepagesz=` must come before its `hugepages=`.

/** Arguments that hold a list of which the last one wins: members are added to it, a second list never. */
const LISTS = /^(vfio_pci|pci_stub)\.ids$/

/**
 * Is the argument there? Of a list such as `vfio-pci.ids=10de:1cb6` the member counts, in the last list of that name;
 * of others one of the values between commas (`intel_iommu=on,sm_on`). `-` and `_` are the same in names.
 */
export function hasArgument(line: string, token: string): boolean {
  const [wanted] = parseCommandLine(token)
  const same = parseCommandLine(line).filter(({ name }) => name === wanted?.name)
  if (wanted === undefined || same.length === 0) return false
  const considered = LISTS.test(wanted.name) ? same.slice(-1) : same
  return considered.some((one) => wanted.value === undefined || membersOf(one).includes(wanted.value.toLowerCase()))
}

/** The line with the argument at its end, or the member at the end of its list; the same line when it is there. */
export function addArgument(line: string, token: string): string {
  if (hasArgument(line, token)) return line
  const [wanted] = parseCommandLine(token)
  const list = LISTS.test(wanted?.name ?? '') ? placesOf(line, wanted?.name).at(-1) : undefined
  if (list === undefined) return line === '' ? token : `${line} ${token}`
  const members = (list.value ?? '') === '' ? '' : ','
  // A quote that closes the list stays its end.
  const text = list.token.replace(/(\\?["']*)$/, `${members}${wanted?.value}$1`)
  return line.slice(0, list.at) + text + line.slice(list.at + list.token.length)
}

/** The line without the argument, or without the member of its list; an empty list goes altogether. */
export function removeArgument(line: string, token: string): string {
  const [wanted] = parseCommandLine(token)
  const isList = LISTS.test(wanted?.name ?? '')
  const found = placesOf(line, wanted?.name)
    .reverse()
    .find((one) => (isList ? membersOf(one).includes(wanted?.value?.toLowerCase() ?? '') : one.value === wanted?.value))
  if (found === undefined) return line
  const [before, after] = [line.slice(0, found.at), line.slice(found.at + found.token.length)]
  if (isList && membersOf(found).length > 1) {
    const member = new RegExp(`,${wanted?.value}(?=[,"'\\\\]|$)|(?<=[="'])${wanted?.value},`, 'i')
    return before + found.token.replace(member, '') + after
  }
  return /\s$/.test(before) ? before.slice(0, -1) + after : before + after.replace(/^\s/, '')
}

function membersOf({ value }: KernelArgument): string[] {
  return (value ?? '')
    .toLowerCase()
    .split(',')
    .filter((member) => member !== '')
}

/** The arguments of a name, each with where it starts in the line. */
function placesOf(line: string, name: string | undefined): (KernelArgument & { at: number })[] {
  let from = 0
  const places = parseCommandLine(line).map((argument) => {
    const at = line.indexOf(argument.token, from)
    from = at + argument.token.length
    return { ...argument, at }
  })
  return places.filter((argument) => argument.name === name)
}
