import { UserError } from '../../core/error.ts'
import { parseSize } from '../../core/sizes.ts'
import type { GuestDisk } from '../guest.ts'
import { listSettings, splitProperties } from './vm-config.ts'
import { decideStorage, type VmSetting, type VmTarget, volumeOf } from './vm-target.ts'

// The disks of a VM of Proxmox. Source: PVE::QemuServer::Drive (qemu-server).

const MOST = { scsi: 31, virtio: 16, sata: 6 } as const
const BUSES = ['scsi', 'virtio', 'sata'] as const

/** Is it the size of a disk that is to be made (`64G`), and no path? */
export function isNewDisk(text: string): boolean {
  return /^\d+[GT]$/i.test(text)
}

/**
 * Returns the VM's disks: new ones of the sizes in `--disk`, and those that are there. `usual` is the bus of a new VM:
 * SCSI, where Proxmox gives each disk a controller and a thread of its own, or what an installer knows without drivers.
 */
export function diskSettings(disks: readonly GuestDisk[], usual: 'scsi' | 'sata', target: VmTarget): VmSetting[] {
  const { given, host } = target
  const bus = diskBus(usual, target)
  const attached = BUSES.flatMap((each) => listSettings(target.present ?? new Map(), each)).map(
    ({ value }) => splitProperties(value, 'file', 'volume')[''],
  )
  const more = bus === 'sata' ? 'discard=on' : 'discard=on,iothread=1'
  const made = given.list('disk').filter(isNewDisk)
  if (target.present !== null && made.length > 0)
    target.notes.push('a disk by its size is a further one each time: run the command once')
  const nothing = [...made, ...disks].length === 0 && given.list('pci').length === 0
  if (target.present === null && nothing && (given.value('guest') ?? '').startsWith('windows'))
    target.notes.push('the guest has no disk: add --disk 64G, and Proxmox makes one of that size')
  return [
    ...made.map((size): VmSetting => {
      const gib = parseSize('disk', size) / 2 ** 30
      return { name: bus, when: 'asked', value: `${decideStorage(target)}:${gib},${more}`, list: { most: MOST[bus] } }
    }),
    ...disks.flatMap(({ path, kind }): VmSetting[] => {
      const volume = kind === 'block' ? path : volumeOf(host, 'images', path)
      if (/[,;]/.test(path))
        throw new UserError('usage', `--disk ${path}: Proxmox takes no comma or semicolon in names`)
      if (volume !== undefined && attached.includes(volume)) return []
      if (volume === undefined)
        target.notes.push(`${path}: lies on no storage of Proxmox; the command copies it to ${decideStorage(target)}`)
      const file = volume ?? `${decideStorage(target)}:0`
      const from = volume === undefined ? `,import-from=${path}` : ''
      return [{ name: bus, when: 'asked', value: `${file},${more}${from}`, list: { most: MOST[bus] } }]
    }),
  ]
}

/** Returns the bus that was asked for, that of the VM's first disk, or the usual one. */
function diskBus(usual: 'scsi' | 'sata', { given, present }: VmTarget): keyof typeof MOST {
  const own = BUSES.find((bus) =>
    listSettings(present ?? new Map(), bus).some(({ value }) => !value.includes('media=cdrom')),
  )
  return (given.value('disk-bus') as GuestDisk['bus'] | undefined) ?? own ?? usual
}

/** Returns the media of the installation. Throws a UserError with code `usage` where Proxmox does not find one. */
export function cdromSettings(paths: readonly string[], target: VmTarget): VmSetting[] {
  return paths.map((path, index) => {
    const volume = volumeOf(target.host, 'iso', path)
    if (volume === undefined)
      throw new UserError(
        'usage',
        `${path}: Proxmox takes media from a storage; copy it to ${mediaFolder(target)} and name the copy`,
      )
    const isSame = (value: string): boolean => splitProperties(value, 'file', 'volume')[''] === volume
    return {
      // The second and the first port, as the web interface numbers them.
      name: index === 0 ? 'ide2' : 'ide0',
      when: 'asked',
      value: `${volume},media=cdrom`,
      ...(isSame(target.present?.get(index === 0 ? 'ide2' : 'ide0') ?? '') ? { when: 'missing' as const } : {}),
    }
  })
}

/**
 * Returns the boot order of a new VM that starts from one of its cards, an NVMe drive; Proxmox knows the order of its own
 * disks. What the order does not name is not started: media follow.
 */
export function bootSettings(cards: readonly { boot: boolean }[], media: readonly string[]): VmSetting[] {
  const drive = cards.findIndex(({ boot }) => boot)
  const order = [`hostpci${drive}`, ...(media.length > 0 ? ['ide2'] : [])].join(';')
  return drive < 0 ? [] : [{ name: 'boot', when: 'new', value: `order=${order}` }]
}

function mediaFolder({ host }: VmTarget): string {
  const storage = host.storages.find(({ content, path }) => content.includes('iso') && path !== null)
  return `${storage?.path ?? '/var/lib/vz'}/template/iso`
}
