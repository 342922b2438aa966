import { resolve } from 'node:path'
import { parseSelector } from '../bind/select.ts'
import { UserError } from '../core/error.ts'
import { type Remarks, supports, supportsElseNote } from '../core/versions.ts'
import { decideHiding, decideMemory, type GuestFacts } from '../guest/decide.ts'
import { type DecidedDevices, decideDevices } from '../guest/decide-devices.ts'
import type { Guest } from '../guest/guest.ts'
import {
  evdevElement,
  nicElement,
  scsiController,
  scsiHostdev,
  shareElement,
  shmemElement,
  soundElements,
  tpmElement,
  usbHostdev,
} from '../guest/libvirt/device-xml.ts'
import { attribute, child } from '../guest/libvirt/edit-document.ts'
import { frameArguments } from '../guest/libvirt/guest-xml.ts'
import {
  ensureElement,
  memoryKibOf,
  parseDomain,
  patchArguments,
  patchHiding,
  patchHugepages,
  patchMemory,
  patchPinning,
  patchSharing,
  patchTopology,
} from '../guest/libvirt/patch.ts'
import { cardNotes, showRoms, windowNotes } from '../guest/libvirt/patch-cards.ts'
import { addCard, addDisk, addIfMissing, patchHeadless, removeDevice } from '../guest/libvirt/patch-devices.ts'
import { type XmlElement, xmlElement } from '../guest/libvirt/xml-element.ts'
import type { GuestRequest, RequestedDevices } from '../guest/request.ts'
import { readPciFacts } from '../host/machine.ts'
import { openReader, readStandardInput } from '../host/sysroot.ts'
import type { Arguments } from '../terminal/options.ts'
import type { Context } from './run-script.ts'

/** No domain comes near it: the longest of people's own have 15 kB. */
const LARGEST = 4 * 1024 * 1024

/** What says how something is added, and what. */
const COMPANIONS = { mac: 'network', 'nic-model': 'network', 'disk-bus': 'disk', 'audio-user': 'audio' } as const
/** What only a new guest is asked; a patch leaves all that as it is. */
const FOR_NEW = ['name', 'guest', 'format', 'iso', 'virtio-iso', 'chipset', 'firmware', 'loader', 'cpu']

/** Throws a UserError with code `usage` where options do not go with `--patch`. */
export function checkPatchUsage(given: Arguments): void {
  const wrong = FOR_NEW.find((name) => given.value(name) !== undefined) ?? (given.flag('x-vga') ? 'x-vga' : undefined)
  if (wrong !== undefined) throw new UserError('usage', `--${wrong} is for a new guest: --patch leaves that as it is`)
  for (const [name, requirements] of Object.entries(COMPANIONS))
    if (given.value(name) !== undefined && given.list(requirements).length === 0)
      throw new UserError('usage', `--${name} goes with --${requirements}: a patch changes what it names`)
}

/** Reads the document of `--patch`. Throws a UserError: `unreadable`, `too-large`, `malformed`, `no-domain` … */
export function readPatched(file: string): string {
  const bytes = file === '-' ? readStandardInput(LARGEST) : openReader('/').bytes(resolve(file), LARGEST + 1)
  const name = file === '-' ? 'standard input' : file
  if (bytes === undefined && file !== '-') throw new UserError('unreadable', `${name}: there is no such file`)
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

/** The domain with what was asked for; what it has already stays as it is. */
export function patchDomain(
  context: Context,
  text: string,
  request: GuestRequest,
  requested: RequestedDevices,
  facts: GuestFacts,
): Remarks & { text: string } {
  const remarks: Remarks = { reasons: [], notes: [] }
  const { versions } = facts
  const root = parseDomain(text)
  const bios =
    attribute(child(root, 'os'), 'firmware') !== 'efi' && attribute(child(root, 'os', 'loader'), 'type') !== 'pflash'
  const firmware: Guest['firmware'] = bios ? { kind: 'bios' } : { kind: 'auto', secure: false, features: [] }
  const devices = decideDevices(request, requested, facts, {
    firmware,
    ...remarks,
  })
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
  } else if (request.pin !== undefined) {
    const { sockets, cores, threads } = facts.unpinned.topology
    result = ensureElement(result, [], xmlElement('vcpu', {}, String(sockets * cores * threads)))
    result = patchTopology(result, { ...facts.unpinned, caches: null })
  }
  remarks.notes.push(...windowNotes(result, facts, firmware))
  if (request.headless) result = patchHeadless(result)
  if (request.tpm && supportsElseNote(versions, 'tpm', 'the TPM', remarks))
    result = addIfMissing(result, tpmElement(), xmlElement('tpm'))
  const added = showRoms(addAll(result, request, devices, supports(versions, 'aliases')), devices.cards, remarks)
  remarks.notes.push(...cardNotes(added, devices.cards))
  return { ...remarks, text: added }
}

function addAll(text: string, request: GuestRequest, devices: DecidedDevices, alias: boolean): string {
  const nics = request.networks.length > 0 ? devices.nics : []
  const usb = devices.usb.map(usbHostdev)
  const required: [wanted: XmlElement, identity: XmlElement][] = [
    ...nics.map((nic) => [nicElement(nic), nicElement({ ...nic, model: '' })] as [XmlElement, XmlElement]),
    ...usb.map((each): [XmlElement, XmlElement] => [
      each,
      xmlElement('hostdev', { type: 'usb' }, sourceIdentity(each)),
    ]),
    ...devices.scsi.map((each): [XmlElement, XmlElement] => [
      scsiHostdev(each),
      xmlElement('hostdev', { type: 'scsi' }, sourceIdentity(scsiHostdev(each))),
    ]),
    ...devices.evdev.map((dev, index): [XmlElement, XmlElement] => [
      evdevElement(dev, index === 0),
      xmlElement('input', { type: 'evdev' }, xmlElement('source', { dev })),
    ]),
    ...devices.shares.map((each): [XmlElement, XmlElement] => [
      shareElement(each),
      xmlElement('filesystem', {}, xmlElement('target', { dir: each.tag })),
    ]),
  ]
  if (devices.frames?.device === 'shm')
    required.push([shmemElement(devices.frames), xmlElement('shmem', { name: 'looking-glass' })])
  if (devices.scsi.length > 0 || devices.disks.some(({ bus }) => bus === 'scsi'))
    required.unshift([scsiController(false), xmlElement('controller', { type: 'scsi' })])
  const shared = devices.shares.length > 0 ? patchSharing(text) : text
  const disked = devices.disks.reduce(addDisk, shared)
  const carded = devices.cards.reduce((each, card) => addCard(each, card, alias), disked)
  const added = required.reduce((each, [element, identity]) => addIfMissing(each, element, identity), carded)
  const sound = request.audio === undefined ? [] : soundElements(devices.audio, 'ich9')
  const heard = sound.reduce(addSound, added)
  return patchArguments(heard, frameArguments(devices))
}

/** A sound card that is there stays; where its sound goes is set. */
function addSound(text: string, element: XmlElement): string {
  const { id: _, ...rest } = element.attributes
  const present = child(parseDomain(text), 'devices', element.name)
  if (present === undefined || element.name === 'sound') return addIfMissing(text, element, xmlElement(element.name))
  return ensureElement(text, ['devices'], xmlElement(element.name, rest))
}

/** The source of a hostdev without what only says how it is looked for. */
function sourceIdentity({ children }: XmlElement): XmlElement | undefined {
  const source = children.find(({ name }) => name === 'source')
  return source && { ...source, attributes: {} }
}

/** What the domain does not have is said, and changes nothing. */
function takeOut({ machine, warn }: Context, text: string, selector: string): string {
  const { matches } = parseSelector(selector)
  // An ID or a group is a fact of the machine; an address is one of the domain alone.
  const byMachine = !/[:.][0-9a-f]{2}(\.[0-7])?$/i.test(selector) || selector.startsWith('group:')
  const addresses =
    byMachine && machine.reader.exists('/sys/bus/pci') ? readPciFacts(machine, warn).devices.filter(matches) : []
  const result = removeDevice(
    text,
    selector,
    addresses.map(({ address }) => address),
  )
  if (result === undefined) warn(`--remove ${selector}: the domain has no such device`)
  return result ?? text
}
