import { resolve } from 'node:path'
import { parseSelector } from '../bind/select.ts'
import { UserError } from '../core/error.ts'
import { allows, gated, type Talk } from '../core/versions.ts'
import { decideHiding, decideMemory, type GuestFacts } from '../guest/decide.ts'
import { type Devices, decideDevices } from '../guest/decide-devices.ts'
import type { Guest } from '../guest/guest.ts'
import {
  evdevPart,
  nicPart,
  scsiController,
  scsiHostdev,
  sharePart,
  shmemPart,
  soundParts,
  tpmPart,
  usbHostdev,
} from '../guest/libvirt/device-xml.ts'
import { attribute, child } from '../guest/libvirt/edit-document.ts'
import { frameArguments } from '../guest/libvirt/guest-xml.ts'
import { type Part, part } from '../guest/libvirt/part.ts'
import {
  ensure,
  memoryOf,
  patchArguments,
  patchHiding,
  patchHugepages,
  patchMemory,
  patchPinning,
  patchSharing,
  patchTopology,
  readDomain,
} from '../guest/libvirt/patch.ts'
import { sayCards, sayWindow, showRoms } from '../guest/libvirt/patch-cards.ts'
import { addCard, addDisk, addUnless, makeHeadless, removeDevice } from '../guest/libvirt/patch-devices.ts'
import type { Chosen, Request } from '../guest/request.ts'
import { readPciFacts } from '../host/machine.ts'
import { openReader, readStandardInput } from '../host/sysroot.ts'
import type { Arguments } from '../terminal/options.ts'
import type { Context } from './run-script.ts'

/** No domain comes near it: the longest of people's own have 15 kB. */
const LARGEST = 4 * 1024 * 1024

/** What says how something is added, and what. */
const WITH = { mac: 'network', 'nic-model': 'network', 'disk-bus': 'disk', 'audio-user': 'audio' } as const
/** What only a new guest is asked; a patch leaves all that as it is. */
const FOR_NEW = ['name', 'guest', 'format', 'iso', 'virtio-iso', 'chipset', 'firmware', 'loader', 'cpu']

/** Throws a UserError with code `usage` where options do not go with `--patch`. */
export function checkPatchUsage(given: Arguments): void {
  const wrong = FOR_NEW.find((name) => given.value(name) !== undefined) ?? (given.flag('x-vga') ? 'x-vga' : undefined)
  if (wrong !== undefined) throw new UserError('usage', `--${wrong} is for a new guest: --patch leaves that as it is`)
  for (const [name, needs] of Object.entries(WITH))
    if (given.value(name) !== undefined && given.list(needs).length === 0)
      throw new UserError('usage', `--${name} goes with --${needs}: a patch changes what it names`)
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
    readDomain(text)
  } catch (error) {
    throw error instanceof UserError ? new UserError(error.code, `${name}: ${error.message}`) : error
  }
  return text
}

/** The domain with what was asked for; what it has already stays as it is. */
export function patchDomain(
  context: Context,
  text: string,
  request: Request,
  chosen: Chosen,
  facts: GuestFacts,
): Talk & { text: string } {
  const talk: Talk = { reasons: [], notes: [] }
  const { versions } = facts
  const root = readDomain(text)
  const bios =
    attribute(child(root, 'os'), 'firmware') !== 'efi' && attribute(child(root, 'os', 'loader'), 'type') !== 'pflash'
  const firmware: Guest['firmware'] = bios ? { kind: 'bios' } : { kind: 'auto', secure: false, features: [] }
  const devices = decideDevices(request, chosen, facts, {
    firmware,
    ...talk,
  })
  let result = context.arguments.list('remove').reduce((each, wanted) => takeOut(context, each, wanted), text)
  if (request.hideKvm || request.vendorId !== undefined || request.nvidiaDriver !== undefined)
    result = patchHiding(result, decideHiding(request, versions, talk), request.vendorId !== undefined)
  if (request.memoryKib !== undefined) result = patchMemory(result, request.memoryKib)
  if (request.memoryKib !== undefined || request.hugepageKib !== undefined)
    decideMemory({ ...request, memoryKib: memoryOf(result) }, facts.hypervisor, talk)
  if (request.hugepageKib !== undefined) result = patchHugepages(result, request.hugepageKib)
  if (facts.pinning !== null) {
    result = patchPinning(result, facts.pinning, allows(versions, 'cpuCache'))
    talk.reasons.push(...facts.pinning.reasons)
  } else if (request.pin !== undefined) {
    const { sockets, cores, threads } = facts.unpinned.topology
    result = ensure(result, [], part('vcpu', {}, String(sockets * cores * threads)))
    result = patchTopology(result, { ...facts.unpinned, caches: null })
  }
  talk.notes.push(...sayWindow(result, facts, firmware))
  if (request.headless) result = makeHeadless(result)
  if (request.tpm && gated(versions, 'tpm', 'the TPM', talk)) result = addUnless(result, tpmPart(), part('tpm'))
  const added = showRoms(addAll(result, request, devices, allows(versions, 'aliases')), devices.cards, talk)
  talk.notes.push(...sayCards(added, devices.cards))
  return { ...talk, text: added }
}

function addAll(text: string, request: Request, devices: Devices, alias: boolean): string {
  const nics = request.networks.length > 0 ? devices.nics : []
  const usb = devices.usb.map(usbHostdev)
  const wanted: [wanted: Part, identity: Part][] = [
    ...nics.map((nic) => [nicPart(nic), nicPart({ ...nic, model: '' })] as [Part, Part]),
    ...usb.map((each): [Part, Part] => [each, part('hostdev', { type: 'usb' }, bare(each))]),
    ...devices.scsi.map((each): [Part, Part] => [
      scsiHostdev(each),
      part('hostdev', { type: 'scsi' }, bare(scsiHostdev(each))),
    ]),
    ...devices.evdev.map((dev, index): [Part, Part] => [
      evdevPart(dev, index === 0),
      part('input', { type: 'evdev' }, part('source', { dev })),
    ]),
    ...devices.shares.map((each): [Part, Part] => [
      sharePart(each),
      part('filesystem', {}, part('target', { dir: each.tag })),
    ]),
  ]
  if (devices.frames?.device === 'shm')
    wanted.push([shmemPart(devices.frames), part('shmem', { name: 'looking-glass' })])
  if (devices.scsi.length > 0 || devices.disks.some(({ bus }) => bus === 'scsi'))
    wanted.unshift([scsiController(false), part('controller', { type: 'scsi' })])
  const shared = devices.shares.length > 0 ? patchSharing(text) : text
  const disked = devices.disks.reduce(addDisk, shared)
  const carded = devices.cards.reduce((each, card) => addCard(each, card, alias), disked)
  const added = wanted.reduce((each, [element, identity]) => addUnless(each, element, identity), carded)
  const sound = request.audio === undefined ? [] : soundParts(devices.audio, 'ich9')
  const heard = sound.reduce(addSound, added)
  return patchArguments(heard, frameArguments(devices))
}

/** A sound card that is there stays; where its sound goes is set. */
function addSound(text: string, wanted: Part): string {
  const { id: _, ...rest } = wanted.attributes
  const present = child(readDomain(text), 'devices', wanted.name)
  if (present === undefined || wanted.name === 'sound') return addUnless(text, wanted, part(wanted.name))
  return ensure(text, ['devices'], part(wanted.name, rest))
}

/** The source of a hostdev without what only says how it is looked for. */
function bare({ children }: Part): Part | undefined {
  const source = children.find(({ name }) => name === 'source')
  return source && { ...source, attributes: {} }
}

/** What the domain does not have is said, and changes nothing. */
function takeOut({ machine, warn }: Context, text: string, wanted: string): string {
  const { matches } = parseSelector(wanted)
  // An ID or a group is a fact of the machine; an address is one of the domain alone.
  const byMachine = !/[:.][0-9a-f]{2}(\.[0-7])?$/i.test(wanted) || wanted.startsWith('group:')
  const addresses =
    byMachine && machine.reader.exists('/sys/bus/pci') ? readPciFacts(machine, warn).devices.filter(matches) : []
  const result = removeDevice(
    text,
    wanted,
    addresses.map(({ address }) => address),
  )
  if (result === undefined) warn(`--remove ${wanted}: the domain has no such device`)
  return result ?? text
}
