import { UserError } from '../../core/error.ts'
import type { PciDevice } from '../../host/pci.ts'
import type { ProxmoxHost, ProxmoxStorage } from '../../host/proxmox-node.ts'
import type { Arguments } from '../../terminal/options.ts'
import type { RequestedDevices } from '../request.ts'
import { type Properties, splitProperties, type VmSettings } from './vm-config.ts'

/** The VM that settings are for, and the host that it is on. */
export interface VmTarget {
  vmid: number
  host: ProxmoxHost
  /** The settings of a VM that there is; `null`: a new one. */
  present: VmSettings | null
  given: Arguments
  requested: RequestedDevices
  /** All PCI devices of the host; none where no card was named. */
  devices: readonly PciDevice[]
  /** What a person should know of the settings; each part adds its own. */
  notes: string[]
}

/**
 * A setting that the VM should have. `new`: a new VM has it · `missing`: so has one that lacks it · `asked`: it is set,
 * whatever stands there.
 */
export interface VmSetting {
  /** Its name; that of a list has no number: `hostpci`. */
  name: string
  when: 'new' | 'missing' | 'asked'
  /** The whole value, or parts of it, which leave other parts as they are. */
  value: string | Properties
  /** Of a list: how many there may be, and which present ones are this one. */
  list?: { most: number; isSame?: (value: string) => boolean }
}

/** Was any of these options given? */
export function isAsked({ given }: VmTarget, ...names: readonly string[]): boolean {
  return names.some((name) => given.flag(name) || given.list(name).length > 0)
}

/** Returns `asked` where one of these options was given, else `new`. */
export function asAsked(target: VmTarget, ...names: readonly string[]): 'asked' | 'new' {
  return isAsked(target, ...names) ? 'asked' : 'new'
}

const DISK = /^(?:scsi|virtio|sata|ide|efidisk|tpmstate)\d+$/

/**
 * Decides on which storage new volumes lie: the one that was named, that of the VM's disks, or the only one. Throws a
 * UserError with code `usage` where none of these decides.
 */
export function decideStorage({ host, present, given }: VmTarget): string {
  const named = given.value('storage')
  const able = host.storages.filter(({ content }) => content.includes('images')).map(({ name }) => name)
  const list = able.join(', ')
  if (able.length === 0)
    throw new UserError(
      'usage',
      'no storage of this node takes disks of VMs (content images in /etc/pve/storage.cfg): add one',
    )
  if (named !== undefined && !able.includes(named))
    throw new UserError('usage', `--storage ${named}: takes no disks of VMs on this node; those that do: ${list}`)
  const used = [...(present ?? [])]
    .filter(([name, value]) => DISK.test(name) && !value.includes('media=cdrom'))
    .map(([, value]) => splitProperties(value, 'file', 'volume')['']?.replace(/:.*/, '') ?? '')
  const decided = named ?? used.find((name) => able.includes(name)) ?? (able.length === 1 ? able[0] : undefined)
  if (decided === undefined)
    throw new UserError('usage', `--storage NAME: several storages take disks of VMs, choose one: ${list}`)
  return decided
}

/** Returns the name that Proxmox has for a file of this kind on a storage: `local:iso/x.iso`; `undefined`: on none. */
export function volumeOf({ storages }: ProxmoxHost, kind: 'iso' | 'images', path: string): string | undefined {
  const folder = ({ path: at }: ProxmoxStorage): string => `${at}/${kind === 'iso' ? 'template/iso' : 'images'}/`
  const storage = storages.find(
    (each) => each.path !== null && each.content.includes(kind) && path.startsWith(folder(each)),
  )
  const rest = storage === undefined ? '' : path.slice(folder(storage).length)
  if (kind === 'iso') return /^[^/]+\.(iso|img)$/i.test(rest) ? `${storage?.name}:iso/${rest}` : undefined
  return /^\d+\/[^/]+$/.test(rest) ? `${storage?.name}:${rest}` : undefined
}

/** Is the VM's board q35? Proxmox's own default is i440fx. */
export function isQ35(present: VmSettings): boolean {
  return (present.get('machine') ?? '').includes('q35')
}
