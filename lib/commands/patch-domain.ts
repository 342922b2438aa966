import { parseSelector } from '../bind/select.ts'
import { UserError } from '../core/error.ts'
import { type Remarks, supports } from '../core/versions.ts'
import { sharedCpuNotes } from '../cpu/pinning.ts'
import { decideHiding, decideMemory, type GuestFacts } from '../guest/decide.ts'
import { isDeviceGiven } from '../guest/devices/guest-device.ts'
import { ATTACHED_DEVICES, BUILT_IN_DEVICES, decideDevices, GUEST_DEVICES } from '../guest/devices/guest-devices.ts'
import type { GuestFirmware } from '../guest/guest.ts'
import { removeEmptyPort } from '../guest/libvirt/card-hostdevs.ts'
import { attribute, child, removeElement } from '../guest/libvirt/edit-document.ts'
import { addIfMissing, devicesOf, ensureElement, parseDomain } from '../guest/libvirt/edit-domain.ts'
import { sortDevices } from '../guest/libvirt/guest-xml.ts'
import {
  memoryKibOf,
  patchArguments,
  patchHiding,
  patchHugepages,
  patchMemory,
  patchPinning,
  patchSharing,
  patchTopology,
} from '../guest/libvirt/patch.ts'
import { windowNotes } from '../guest/libvirt/window-notes.ts'
import { xmlElement } from '../guest/libvirt/xml-element.ts'
import type { BoardRequest } from '../guest/request.ts'
import { readPciFacts } from '../host/machine.ts'
import { readNamedFile } from '../host/named-file.ts'
import { readStandardInput } from '../host/sysroot.ts'
import type { Arguments } from '../terminal/options.ts'
import type { Context } from './run-script.ts'

/** The size limit of a domain, in bytes; no domain comes near it: the longest of people's own have 15 kB. */
const LARGEST = 4 * 1024 * 1024

/** The options of a new guest alone, beside those that its devices name; a patch leaves these settings as they are. */
const FOR_NEW = ['name', 'guest', 'format', 'vmid', 'storage', 'chipset', 'firmware', 'loader', 'cpu']

/** Throws a UserError with code `usage` where options do not go with `--patch`. */
export function checkPatchUsage(given: Arguments): void {
  const isIn = (name: string): boolean => given.list(name).length > 0
  const wrong = [...FOR_NEW, ...GUEST_DEVICES.flatMap(({ forNew = [] }) => forNew)].find(isIn)
  if (wrong !== undefined) throw new UserError('usage', `--${wrong} is for a new guest: --patch leaves that as it is`)
  for (const { options } of GUEST_DEVICES) {
    const [first] = options
    const asks = options.filter((each) => each === first || each.kind === 'list')
    const how = options.find((each) => !asks.includes(each) && isIn(each.name))
    if (first !== undefined && how !== undefined && !asks.some(({ name }) => isIn(name)))
      throw new UserError('usage', `--${how.name} goes with --${first.name}: a patch changes what it names`)
  }
}

/** Reads `--patch`. Throws a UserError: `unreadable`, `too-large`, `malformed`, `document-type`, `no-domain`. */
export function readPatched(file: string): string {
  const bytes = file === '-' ? readStandardInput(LARGEST) : readNamedFile(file, LARGEST + 1)
  const name = file === '-' ? 'standard input' : file
  if (bytes === undefined || bytes.length > LARGEST)
    throw new UserError('too-large', `${name}: longer than ${LARGEST / 1024 / 1024} MiB, which is no domain`)
  if (bytes.length === 0) throw new UserError('malformed', `${name}: empty; virsh dumpxml NAME prints a domain`)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new UserError('malformed', `${name}: not UTF-8; nothing was changed`)
  }
  try {
    parseDomain(text)
  } catch (error) {
    throw error instanceof UserError ? new UserError(error.code, `${name}: ${error.message}`) : error
  }
  return text
}

/** Returns the domain with what was asked for; what it has stays. Throws a UserError: `numa-cells`, `usage` … */
export function patchDomain(
  context: Context,
  text: string,
  request: BoardRequest,
  facts: GuestFacts,
): Remarks & { text: string } {
  const remarks: Remarks = { reasons: [], notes: [] }
  const { versions } = facts
  const root = parseDomain(text)
  const bios =
    attribute(child(root, 'os'), 'firmware') !== 'efi' && attribute(child(root, 'os', 'loader'), 'type') !== 'pflash'
  const firmware: GuestFirmware = bios ? { kind: 'bios' } : { kind: 'auto', secure: false, features: [] }
  const isAsked = (device: (typeof GUEST_DEVICES)[number]): boolean => isDeviceGiven(device, context.arguments)
  const decided = decideDevices(context.arguments, { ...facts, firmware }, (device) =>
    isAsked(device) ? remarks : { reasons: [], notes: [] },
  )
  const guest = { ...decided, chipset: request.chipset, preset: request.preset, pinning: null }
  let result = context.arguments.list('remove').reduce((each, required) => takeOut(context, each, required), text)
  if (request.hideKvm || request.vendorId !== undefined || request.nvidiaDriver !== undefined)
    result = patchHiding(result, decideHiding(request, versions, remarks), request.vendorId !== undefined)
  if (request.memoryKib !== undefined) result = patchMemory(result, request.memoryKib)
  if (request.memoryKib !== undefined || request.hugepageKib !== undefined)
    decideMemory({ ...request, memoryKib: memoryKibOf(result) }, facts.hypervisor, remarks)
  if (request.hugepageKib !== undefined) result = patchHugepages(result, request.hugepageKib)
  if (facts.pinning !== null) {
    result = patchPinning(result, facts.pinning, supports(versions, 'cpuCache'))
    remarks.reasons.push(...facts.pinning.reasons)
    remarks.notes.push(...sharedCpuNotes(facts.pinning))
  } else if (request.pin !== undefined) {
    const { sockets, cores, threads } = facts.unpinned.topology
    result = ensureElement(result, [], xmlElement('vcpu', {}, String(sockets * cores * threads)))
    result = patchTopology(result, { ...facts.unpinned, caches: null })
  }
  remarks.notes.push(...windowNotes(result, facts, firmware))
  for (const devices of [BUILT_IN_DEVICES, ATTACHED_DEVICES]) {
    const asked = devices.filter(isAsked)
    if (asked.some((device) => device.sharesMemory?.(guest))) result = patchSharing(result)
    for (const device of asked) result = device.patch?.(result, guest, versions, remarks) ?? result
    const elements = asked.flatMap(({ match = {}, ...device }) =>
      device.xml(guest, versions).flatMap((element) => {
        const paths = match[element.name]
        return paths === undefined ? [] : [{ name: element.name, element, paths }]
      }),
    )
    for (const { element, paths } of sortDevices(elements)) result = addIfMissing(result, element, paths)
    result = patchArguments(
      result,
      asked.flatMap((device) => device.passedOn?.(guest, versions) ?? []),
    )
  }
  return { ...remarks, text: result }
}

/** Removes a device from the domain's text; warns where the domain has no such device, and changes nothing. */
function takeOut({ machine, warn }: Context, text: string, selector: string): string {
  const { matches } = parseSelector(selector)
  // An ID, a group and a card are facts of the machine; a function's address is one of the domain alone.
  const byMachine = !/\.[0-7]$/.test(selector)
  const devices = byMachine && machine.reader.exists('/sys/bus/pci') ? readPciFacts(machine, warn).devices : []
  const addresses = devices.filter(matches).map(({ address }) => address)
  const gone = (devicesOf(text)?.children ?? []).filter((element) =>
    GUEST_DEVICES.some((device) => device.removes?.(element, selector, addresses)),
  )
  if (gone.length === 0) warn(`--remove ${selector}: the domain has no such device`)
  return gone.reduce(removeEmptyPort, [...gone].reverse().reduce(removeElement, text))
}
