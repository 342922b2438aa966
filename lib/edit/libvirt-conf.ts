import { addLine, hasLine, removeLine } from './modprobe.ts'

// Lists of strings in libvirt's own files such as qemu.conf: `cgroup_device_acl = [ "/dev/null", "/dev/kvm" ]`. A list
// that is set replaces what libvirt has built in, which the file shows as a comment. Texts are one character a byte.

/** The lists built into libvirt, for a file that does not show them. Source: libvirt, src/qemu/qemu_cgroup.c. */
const BUILT_IN: Readonly<Record<string, readonly string[]>> = {
  cgroup_device_acl: ['null', 'full', 'zero', 'random', 'urandom', 'ptmx', 'kvm', 'userfaultfd'].map(
    (name) => `/dev/${name}`,
  ),
}

/** Does the list have this member? */
export function hasLibvirtMember(text: string, key: string, member: string): boolean {
  return findList(text, key)?.members.some((one) => one.value === member) ?? false
}

/** Returns the members of the list that is set; `undefined`: none is. */
export function libvirtMembers(text: string, key: string): string[] | undefined {
  return findList(text, key)?.members.map(({ value }) => value)
}

/** Returns the text with the member at the end of the list; a list that was not set starts with the built-in ones. */
export function addLibvirtMember(text: string, key: string, member: string): string {
  if (hasLibvirtMember(text, key, member)) return text
  const list = findList(text, key)
  if (list === undefined) return addLibvirtMember(addLine(text, libvirtListLine(key, builtIn(text, key))), key, member)
  const last = list.members.at(-1)
  const [at, more] = last === undefined ? [list.start, `"${member}"`] : [last.end, `, "${member}"`]
  return text.slice(0, at) + more + text.slice(at)
}

/** Returns the text without the member. After `addLibvirtMember` it is the old text, byte for byte. */
export function removeLibvirtMember(text: string, key: string, member: string): string {
  const list = findList(text, key)
  const index = list?.members.findIndex((one) => one.value === member) ?? -1
  const one = list?.members[index]
  if (list === undefined || one === undefined) return text
  const [before, after] = [list.members[index - 1], list.members[index + 1]]
  const from = before?.end ?? one.start
  const to = before === undefined && after !== undefined ? after.start : one.end
  const left = text.slice(0, from) + text.slice(to)
  const own = libvirtListLine(key, builtIn(text, key))
  return hasLine(left, own) ? removeLine(left, own) : left
}

/** Returns the whole list as one line. */
export function libvirtListLine(key: string, members: readonly string[]): string {
  return `${key} = [ ${members.map((one) => `"${one}"`).join(', ')} ]`
}

/** Returns the members that libvirt uses while the list is not set: those in the file's comment, else `BUILT_IN`. */
export function builtIn(text: string, key: string): string[] {
  const shown = new RegExp(`^#[ \\t]*${key}[ \\t]*=[ \\t]*\\[([^\\]]*)\\]`, 'm').exec(text)?.[1]
  return shown === undefined
    ? [...(BUILT_IN[key] ?? [])]
    : [...shown.matchAll(/"([^"\n]*)"/g)].map(([, value = '']) => value)
}

interface LibvirtMember {
  value: string
  start: number
  end: number
}

/** Finds the list that is set, and its members with their places. Source: libvirt, src/util/virconf.c. */
function findList(text: string, key: string): { start: number; members: LibvirtMember[] } | undefined {
  const found = new RegExp(`^[ \\t]*${key}[ \\t]*=[ \\t]*\\[`, 'm').exec(text)
  if (found === null) return undefined
  const start = found.index + found[0].length
  const members: LibvirtMember[] = []
  for (const match of text.slice(start).matchAll(/"([^"]*)"|'([^']*)'|\]/g)) {
    const at = start + match.index
    if (match[0] === ']') break
    const value = match[1] ?? match[2]
    if (value !== undefined) members.push({ value, start: at, end: at + match[0].length })
  }
  return { start, members }
}
