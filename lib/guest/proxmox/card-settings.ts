import { UserError } from '../../core/error.ts'
import type { PciDevice } from '../../host/pci.ts'
import { slotOf } from '../../host/pci.ts'
import type { ProxmoxMapping } from '../../host/proxmox-node.ts'
import type { GuestBoard } from '../guest.ts'
import type { GuestCard } from '../libvirt/card-hostdevs.ts'
import { listSettings, type Properties, splitProperties } from './vm-config.ts'
import type { VmSetting, VmTarget } from './vm-target.ts'

// The host's cards as Proxmox has them. Source: PVE::QemuServer::PCI (qemu-server).

const MOST = 16
/** The folder from which Proxmox takes ROMs, and the only one. */
const ROMS = '/usr/share/kvm/'

const ROOT =
  'root@pam alone may set devices by address, and ROMs: run this as root on the node; for others an administrator makes a mapping (Datacenter, Resource Mappings)'

type Chipset = GuestBoard['chipset']

/** Returns a setting for each card. Throws a UserError with code `usage` for what Proxmox cannot have. */
export function cardSettings(cards: readonly GuestCard[], chipset: Chipset, target: VmTarget): VmSetting[] {
  const { present, notes } = target
  const settings = cards.map((card) => hostpci(card, chipset === 'q35' ? { pcie: '1' } : {}, target))
  if (cards.some((card) => card.xVga) && !present?.has('vga'))
    notes.push(
      'x-vga=1 takes the virtual display away (vga none), and hides KVM from the guest; the console of the web interface stays dark',
    )
  return settings
}

/** Returns the setting of Intel's integrated GPU: at its own place (legacy-igd) on i440fx alone. */
export function igdSetting(
  { address, rom }: { address: string; rom: string | null },
  chipset: Chipset,
  target: VmTarget,
): VmSetting {
  const card = { functions: [{ address, rom }], xVga: false, boot: false, iommufd: false, network: null }
  if (target.given.flag('x-vga'))
    throw new UserError('usage', `--x-vga: does not go with ${address}, which has legacy-igd instead; leave it out`)
  if (chipset === 'i440fx') return hostpci(card, { 'legacy-igd': '1' }, target)
  target.notes.push(
    `${address}: on q35 Proxmox puts it behind a root port, where Intel's drivers do not look for it; with --chipset i440fx it is at 00:02.0 (legacy-igd)`,
  )
  return hostpci(card, { pcie: '1' }, target)
}

function hostpci(card: GuestCard, more: Properties, target: VmTarget): VmSetting {
  const rom = card.functions.find((each) => each.rom !== null)?.rom ?? null
  if (rom !== null && !rom.startsWith(ROMS))
    throw new UserError(
      'usage',
      `--rom ${rom}: Proxmox takes ROMs from ${ROMS} alone; copy it there, and name the copy`,
    )
  if (rom !== null && /[,;]/.test(rom)) throw new UserError('usage', `--rom ${rom}: no comma or semicolon in its name`)
  if (!target.notes.includes(ROOT)) target.notes.push(ROOT)
  const addresses = card.functions.map(({ address }) => address)
  const own = ownEntry(addresses, target)
  const properties = {
    ...more,
    ...(card.xVga ? { 'x-vga': '1' } : {}),
    ...(rom === null ? {} : { romfile: rom.slice(ROMS.length) }),
  }
  const whole = own?.covers
  return {
    name: 'hostpci',
    when: 'asked',
    value: whole ? properties : { '': hostOf(addresses, target), ...properties },
    list: { most: MOST, isSame: (value) => value === own?.value },
  }
}

/** Finds the setting that the VM has for this card. Throws a UserError with code `usage` where several have parts of it. */
function ownEntry(addresses: readonly string[], target: VmTarget): { value: string; covers: boolean } | null {
  const entries = listSettings(target.present ?? new Map(), 'hostpci').map((entry) => ({
    ...entry,
    functions: functionsOf(entry.value, addresses, target),
  }))
  const having = entries.filter(({ functions }) => functions.length > 0)
  const [first] = having
  if (first === undefined) return null
  const all = new Set(having.flatMap(({ functions }) => functions))
  const covers = all.size === addresses.length
  if (having.length > 1 && !covers)
    throw new UserError(
      'usage',
      `${having.map(({ name }) => name).join(' and ')} have parts of one card: leave ${first.name}, and take the others out with qm set ${target.vmid} --delete NAME`,
    )
  return { value: first.value, covers }
}

/** Returns those of the addresses that a setting gives to the VM. */
function functionsOf(value: string, addresses: readonly string[], { host }: VmTarget): string[] {
  const given = hostpciPlaces(value, host.pciMappings)
  return addresses.filter((address) => given.includes(address) || given.includes(slotOf(address)))
}

/** Returns the functions that a `hostpci` setting names, `0000:01:00.0`, and whole slots, `0000:01:00`. */
export function hostpciPlaces(value: string, mappings: readonly ProxmoxMapping[]): string[] {
  const { '': named, mapping } = splitProperties(value, 'host')
  const paths =
    mapping === undefined ? [named ?? ''] : mappings.filter(({ name }) => name === mapping).map(({ path }) => path)
  return paths.flatMap((path) => path.split(';')).map((path) => (/^[0-9a-f]{4,}:/.test(path) ? path : `0000:${path}`))
}

/** Returns the host's part of a setting: the slot alone, where the guest gets all of its functions. */
function hostOf(addresses: readonly string[], { devices }: VmTarget): string {
  const [first = ''] = addresses
  const slot = slotOf(first)
  const together = addresses.every((address) => slotOf(address) === slot)
  return together && wholeSlot(slot, addresses, devices) ? slot : addresses.join(';')
}

/** Are these all functions of the slot? A single one of several, and a virtual function, are named as they are. */
function wholeSlot(slot: string, addresses: readonly string[], devices: readonly PciDevice[]): boolean {
  return addresses.length > 1 && devices.filter((device) => slotOf(device.address) === slot).length === addresses.length
}
