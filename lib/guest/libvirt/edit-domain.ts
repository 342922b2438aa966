import { UserError } from '../../core/error.ts'
import { type ParsedElement, parseDocument } from './document.ts'
import { attribute, child, childrenOf, elementText, insertElements, setAttribute, setText } from './edit-document.ts'
import { type XmlElement, xmlElement } from './xml-element.ts'

// Functions that read an existing domain of libvirt, and add to it.

/** Returns the root of a domain. Throws a UserError with code `malformed`, `document-type` or `no-domain`. */
export function parseDomain(text: string): ParsedElement {
  const root = parseDocument(text)
  if (root.name !== 'domain')
    throw new UserError('no-domain', `<${root.name}>: not a domain; virsh dumpxml NAME prints one`)
  return root
}

/** Returns the name that a domain has; `undefined` where it has none. */
export function domainName(text: string): string | undefined {
  const name = child(parseDomain(text), 'name')
  return name === undefined ? undefined : elementText(text, name)
}

/** The elements at the top of a domain, in libvirt's order: a new one goes behind those that come before it. */
const ORDER = [
  'name uuid genid title description metadata maxMemory memory currentMemory blkiotune memtune memoryBacking vcpu vcpus',
  'iothreads iothreadids cputune numatune resource sysinfo bootloader os features cpu clock on_poweroff on_reboot',
  'on_crash pm perf devices seclabel',
]
  .join(' ')
  .split(' ')

/** Makes the element at `path` exist with the attributes and text of `required`; what it has besides stays. */
export function ensureElement(text: string, path: readonly string[], required: XmlElement): string {
  let at = parseDomain(text)
  for (const [depth, name] of [...path, required.name].entries()) {
    const next = child(at, name)
    if (next === undefined) {
      const nested = [...path.slice(depth)].reverse().reduce((inner, outer) => xmlElement(outer, {}, inner), required)
      const before = depth === 0 ? ORDER.slice(0, ORDER.indexOf(name)) : []
      return insertElements(text, at, [nested], before)
    }
    at = next
  }
  const missing = Object.entries(required.attributes).find(([name, value]) => attribute(at, name) !== String(value))
  if (missing !== undefined)
    return ensureElement(setAttribute(text, at, missing[0], String(missing[1])), path, required)
  if (required.text !== null && elementText(text, at) !== required.text) return setText(text, at, required.text)
  return text
}

/** Returns the `<devices>` of a domain; `undefined` where it has none. */
export function devicesOf(text: string): ParsedElement | undefined {
  return child(parseDomain(text), 'devices')
}

/** Adds device elements behind those of their kind. */
export function addDevices(text: string, elements: readonly XmlElement[]): string {
  return elements.reduce((result, each) => {
    const devices = devicesOf(result)
    if (devices === undefined) return ensureElement(result, [], xmlElement('devices', {}, each))
    return insertElements(result, devices, [each], [each.name])
  }, text)
}

/** Adds a device, unless the domain has one that is equal in all that `match` names (`GuestDevice.match`). */
export function addIfMissing(text: string, required: XmlElement, match: readonly string[]): string {
  return childrenOf(devicesOf(text), required.name).some((each) => isSameDevice(each, required, match))
    ? text
    : addDevices(text, [required])
}

function isSameDevice(present: ParsedElement, required: XmlElement, match: readonly string[]): boolean {
  return match.every((each) => {
    const [path = '', only] = each.split('@')
    const names = path.split('/').filter(Boolean)
    const said = names.reduce<XmlElement | undefined>(
      (at, name) => at?.children.find((one) => one.name === name),
      required,
    )
    const found = child(present, ...names)
    const attributes = Object.entries(said?.attributes ?? {}).filter(([name]) => only === undefined || name === only)
    return attributes.every(([name, value]) => attribute(found, name) === String(value))
  })
}
