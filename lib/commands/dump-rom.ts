import { dirname, resolve } from 'node:path'
import { LIVE_JOURNAL } from '../change/journal-entry.ts'
import { withLock } from '../change/lock.ts'
import { readRomThrough } from '../change/sysfs.ts'
import { replaceFile } from '../change/write.ts'
import { UserError } from '../core/error.ts'
import { hasShadowRom, otherBootGpu } from '../host/boot-gpu.ts'
import { type PciFacts, readPciFacts } from '../host/machine.ts'
import { isDisplay, isVfio, type PciDevice, slotOf } from '../host/pci.ts'
import { parseRom, type RomImage } from '../host/rom.ts'
import { openReader } from '../host/sysroot.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { printable } from '../terminal/text.ts'
import { deviceName } from '../views/devices.ts'
import { findRequestedDevices } from './answer.ts'
import type { Answer, Context } from './run-script.ts'
import { targetFor } from './target.ts'

/** The value that `check-host --dump-rom FILE --json` prints. */
export interface DumpRom {
  schema: 'vfio-scripts/dump-rom/1'
  action: 'plan' | 'apply'
  /** Was the file written? */
  changed: boolean
  device: PciDevice
  file: string
  /** The files of the kernel that are written meanwhile, with their values; each is put back at once. */
  attributes: { path: string; before: string; during: string }[]
  /** The ROM that was read; `null` in a plan. */
  rom: { bytes: number; images: RomImage[] } | null
}

/** Answers `--dump-rom`: what it would write, or with `--apply` the card's ROM in a new file. */
export async function answerDumpRom(context: Context): Promise<Answer> {
  const { machine, warn, arguments: given, script } = context
  const file = resolve(given.value('dump-rom') ?? '')
  const apply = given.flag('apply')
  if (apply && !machine.running)
    throw new UserError('usage', '--apply reads the ROM on the running machine: leave --root and --machine out')
  expectNewFile(file)
  const pci = readPciFacts(machine, warn)
  const device = findRom(context, pci)
  expectReadable(context, pci, device)
  const control = machine.reader.optionalText(`${device.path}/power/control`)?.trim()
  const json: DumpRom = {
    schema: 'vfio-scripts/dump-rom/1',
    action: 'plan',
    changed: false,
    device,
    file,
    attributes: [
      ...(control === undefined ? [] : [{ path: `${device.path}/power/control`, before: control, during: 'on' }]),
      { path: `${device.path}/rom`, before: '0', during: '1' },
    ],
    rom: null,
  }
  const name = `${script.name} --dump-rom`
  if (!apply) return { code: 1, json, text: () => planText(name, json) }
  const target = targetFor(context, LIVE_JOURNAL)
  const data = await withLock(target, openReader('/'), () => readRomThrough(device.path, target.signal))
  const { images, whole } = parseRom(data)
  expectOwn(device, images, whole)
  await replaceFile('/', file, data.toString('latin1'), 0o644)
  const rom = { bytes: data.length, images }
  const kinds = images.map(({ type }) => (type === 3 ? 'UEFI' : type === 0 ? 'BIOS' : `code type ${type}`)).join(', ')
  const done = `${name}: ${printable(file)}: ${data.length} bytes, images: ${kinds}\nFor a guest: gen-domain --gpu ${slotOf(device.address)} --rom ${printable(file)}\n`
  const answer: DumpRom = { ...json, action: 'apply', changed: true, rom }
  return { code: 0, json: answer, text: () => done }
}

function planText(name: string, { device, file, attributes }: DumpRom): string {
  const lines = attributes.map(({ path, before, during }) => `  ~ ${path}  ${before} → ${during}, and back at once\n`)
  return `${name}: ${device.address} ${printable(deviceName(device))}\n${lines.join('')}  + ${printable(file)}\nNothing was changed. Add --apply.\n`
}

/** Throws a UserError: `exists`, `no-folder`. */
function expectNewFile(file: string): void {
  const own = openReader('/')
  if (own.exists(file)) throw new UserError('exists', `${file}: is there already; name a new file`)
  if (own.list(dirname(file)) === undefined) throw new UserError('no-folder', `${file}: there is no folder for it`)
}

/** Returns the one function of the named card that has a ROM. Throws a UserError: `no-device`, `no-rom`, `usage`. */
function findRom({ machine, arguments: given }: Context, pci: PciFacts): PciDevice {
  const requested = findRequestedDevices(pci, given.list('device')).filter(({ bridge }) => !bridge)
  const having = requested.filter(({ path }) => machine.reader.exists(`${path}/rom`))
  const displays = having.filter(isDisplay)
  const [found, ...more] = displays.length > 0 ? displays : having
  const addresses = (devices: readonly PciDevice[]): string => devices.map(({ address }) => address).join(', ')
  if (found === undefined)
    throw new UserError(
      'no-rom',
      `${addresses(requested)}: has no ROM; that of a GPU on the mainboard or in a laptop is in the firmware of the machine`,
    )
  if (more.length > 0)
    throw new UserError(
      'usage',
      `--dump-rom reads one ROM, and these have one: ${addresses([found, ...more])}; name one`,
    )
  return found
}

/** Throws a UserError where the ROM should not be read now: `driver`, `in-use`, `denied`, `rom-shadow`. */
function expectReadable({ machine: { reader, files } }: Context, pci: PciFacts, device: PciDevice): void {
  const { address, driver } = device
  const slot = slotOf(address)
  if (hasShadowRom(reader, device))
    throw new UserError(
      'rom-shadow',
      `${address}: shows the console, and the kernel has only the copy of its ROM that the firmware has changed: ${otherBootGpu(reader, pci.devices, [device])}`,
    )
  if (driver !== null && !isVfio(driver))
    throw new UserError(
      'driver',
      `${address}: ${driver} has it, and may hang while the ROM is read; take it off first: bind-vfio --now ${slot} --apply`,
    )
  const { nodes, unseen } = readDeviceUsage(reader, files, [device]).open
  const [node] = nodes
  if (node !== undefined)
    throw new UserError(
      'in-use',
      `${address}: ${node.node} is open in ${node.processes[0]?.name ?? 'a process'}; shut the guest down first`,
    )
  if (driver !== null && unseen.length > 0)
    throw new UserError('denied', `${address}: whether a guest has it was not seen`)
}

/** Throws a UserError where the bytes are not the card's own ROM, whole: `rom-damaged`. */
function expectOwn({ address, vendor, device }: PciDevice, images: readonly RomImage[], whole: boolean): void {
  const fail = (what: string): UserError => new UserError('rom-damaged', `${address}: ${what}; no file was written`)
  const [first] = images
  if (first === undefined) throw fail('what it gives is no expansion ROM (55 AA, PCIR)')
  if (first.vendor !== vendor.id || first.device !== device.id)
    throw fail(`its ROM is of ${first.vendor}:${first.device}, not of ${vendor.id}:${device.id}`)
  if (!whole) throw fail('its ROM ends before its last image does')
}
