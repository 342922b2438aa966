import { UserError } from '../../core/error.ts'
import { bootsByEfi, type DiskImage, readDiskImage } from '../../host/disk-images.ts'
import type { Arguments } from '../../terminal/options.ts'
import type { GuestDisk, Preset } from '../guest.ts'
import { checkPath, choiceOption, distinctValues, listOption, pathValue, valueOption } from '../guest-arguments.ts'
import { attribute, child, childrenOf } from '../libvirt/edit-document.ts'
import { addDevices, devicesOf } from '../libvirt/edit-domain.ts'
import { type XmlElement, xmlElement } from '../libvirt/xml-element.ts'
import { bootSettings, cdromSettings, diskSettings, isNewDisk } from '../proxmox/disk-settings.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import type { DecidedCards } from './cards.ts'
import type { GuestDevice } from './guest-device.ts'
import type { DecidedIgd } from './igd.ts'

// Disks, and the CD-ROMs that a guest is installed from.

interface DiskFacts {
  images: ReadonlyMap<string, DiskImage>
}

export interface DecidedDisks {
  disks: GuestDisk[]
  cdroms: string[]
}

/** Returns the drivers that a guest has at its first start: virtio's too, its own alone, or those of Windows 7. */
export function firstDrivers(given: Arguments, preset: Preset): 'virtio' | 'own' | 'old' {
  if (preset === 'windows7') return 'old'
  const [iso, virtioIso] = ['iso', 'virtio-iso'].map((name) => given.value(name))
  return preset !== 'linux' && iso !== undefined && virtioIso === undefined ? 'own' : 'virtio'
}

const WHY_SATA = {
  own: 'SATA and e1000e: the installer has no virtio drivers, and no --virtio-iso brings them',
  old: "SATA, e1000 and USB 2: Windows 7 has no drivers for what came later, and virtio's are gone",
} as const

export const disks: GuestDevice<DiskFacts, DecidedDisks, DecidedCards & DecidedIgd> = {
  options: [
    listOption('disk', 'PATH', 'a disk: a block device or an image; of Proxmox also a size (64G), for a new one'),
    choiceOption('disk-bus', ['virtio', 'scsi', 'sata'], 'how disks are attached'),
    valueOption('iso', 'FILE', 'the installation medium'),
    valueOption('virtio-iso', 'FILE', 'virtio-win, the drivers for Windows'),
  ],
  forNew: ['iso', 'virtio-iso'],
  read: ({ files, reader }, given) => ({
    images: new Map(diskPaths(given).map((path) => [path, readDiskImage(files, reader, path)])),
  }),
  decide(given, { images, preset }, { reasons }) {
    const drivers = firstDrivers(given, preset)
    if (drivers !== 'virtio') reasons.push(WHY_SATA[drivers])
    const bus = (given.value('disk-bus') ?? (drivers === 'virtio' ? 'virtio' : 'sata')) as GuestDisk['bus']
    if (images.size > 20) throw new UserError('usage', '--disk: 20 at most')
    return {
      disks: [...images.values()].map(({ path, kind, format }): GuestDisk => {
        const block = kind === 'block' || /^\/dev\/(?!shm\/)/.test(path)
        return { path, bus, kind: block ? 'block' : 'file', format }
      }),
      cdroms: mediaOf(given),
    }
  },
  files: (given) => ({ images: [...diskPaths(given), ...mediaOf(given)] }),
  warnings({ files }, given) {
    const iso = given.value('iso')
    // A device of --pci may be a disk. Linux also starts from the network.
    const isWindows = given.value('guest')?.startsWith('windows') ?? false
    const lacks =
      isWindows && given.value('format') !== 'proxmox' && ['disk', 'pci'].every((name) => given.list(name).length === 0)
    const boots = iso === undefined || given.value('firmware') === 'bios' || bootsByEfi(files, iso) !== false
    return [
      ...(lacks ? ['the guest has no disk: add --disk FILE; qemu-img create -f qcow2 FILE 100G makes one'] : []),
      ...(boots ? [] : [`${iso}: holds no UEFI boot image; choose another, or --firmware bios`]),
    ]
  },
  // Names continue where others of the same kind stopped.
  xml({ disks: own, cdroms, cards, chipset, pinning }) {
    const used = { vd: 0, sd: 0, hd: 0 }
    const name = (prefix: keyof typeof used): string => `${prefix}${String.fromCharCode(97 + used[prefix]++)}`
    const first = firstOrder(cards)
    const bus = chipset === 'q35' ? 'sata' : 'ide'
    return [
      ...own.map((disk, index) => diskElement(disk, name(PREFIX[disk.bus]), pinning !== null, first + index)),
      ...cdroms.map((file, index) =>
        xmlElement(
          'disk',
          { type: 'file', device: 'cdrom' },
          xmlElement('driver', { name: 'qemu', type: 'raw' }),
          xmlElement('source', { file }),
          xmlElement('target', { dev: name(bus === 'ide' ? 'hd' : 'sd'), bus }),
          xmlElement('readonly'),
          index === 0 && xmlElement('boot', { order: first + own.length }),
        ),
      ),
    ]
  },
  patch: (text, guest) => guest.disks.reduce(addDisk, text),
  proxmox: ({ disks: own, cdroms, cards, igd, preset }, target) => [
    ...diskSettings(own, firstDrivers(target.given, preset) === 'virtio' ? 'scsi' : 'sata', target),
    ...cdromSettings(cdroms, target),
    ...bootSettings(igd === null ? cards : [{ boot: false }, ...cards], cdroms),
  ],
  qemu({ disks: own, cdroms, cards, chipset }) {
    const first = firstOrder(cards)
    let ide = 0
    // q35 has six ports, i440fx two channels of two drives.
    const port = (): string => {
      const number = ide++
      return chipset === 'q35' ? `bus=ide.${number}` : `bus=ide.${number >> 1},unit=${number & 1}`
    }
    return [
      ...own.flatMap(({ path, kind, format, bus }, index) => {
        const cache = kind === 'block' ? ',cache=none,aio=native' : ''
        const device = { virtio: 'virtio-blk-pci', scsi: 'scsi-hd,bus=scsi.0', sata: 'ide-hd' }[bus]
        const at = bus === 'sata' ? `,${port()}` : ''
        return [
          ['-drive', `if=none,id=disk${index},file=${escapeCommas(path)},format=${format}${cache},discard=unmap`],
          ['-device', `${device}${at},drive=disk${index},bootindex=${first + index}`],
        ]
      }),
      ...cdroms.flatMap((path, index) => [
        ['-drive', `if=none,id=cd${index},file=${escapeCommas(path)},format=raw,media=cdrom,readonly=on`],
        ['-device', `ide-cd,${port()},drive=cd${index}${index === 0 ? `,bootindex=${first + own.length}` : ''}`],
      ]),
    ]
  },
}

/** Returns the disks that are there; of Proxmox, sizes are new ones. */
function diskPaths(given: Arguments): string[] {
  const isNew = (text: string): boolean => given.value('format') === 'proxmox' && isNewDisk(text)
  if (!given.list('disk').some(isNew)) distinctValues(given, 'disk')
  return given.list('disk').flatMap((text) => (isNew(text) ? [] : [checkPath('disk', text)]))
}

/** Returns the CD-ROMs, which a guest has until it is installed. */
function mediaOf(given: Arguments): string[] {
  const media = [pathValue(given, 'iso'), pathValue(given, 'virtio-iso')].filter((path) => path !== undefined)
  return given.flag('headless') ? [] : media
}

/** Returns the first disk's boot order: a card, an NVMe drive, may boot before it. */
function firstOrder(cards: DecidedCards['cards']): number {
  return cards.some(({ boot }) => boot) ? 2 : 1
}

const PREFIX = { virtio: 'vd', scsi: 'sd', sata: 'sd' } as const

function diskElement(
  { path, kind, format, bus }: GuestDisk,
  target: string,
  iothread: boolean,
  order: number | null,
): XmlElement {
  const block = kind === 'block'
  return xmlElement(
    'disk',
    { type: kind, device: 'disk' },
    xmlElement('driver', {
      name: 'qemu',
      type: format,
      cache: block ? 'none' : null,
      io: block ? 'native' : null,
      discard: 'unmap',
      iothread: iothread && bus === 'virtio' ? 1 : null,
    }),
    xmlElement('source', block ? { dev: path } : { file: path }),
    xmlElement('target', { dev: target, bus }),
    order !== null && xmlElement('boot', { order }),
  )
}

/** Adds a disk under the next free name of its bus, unless its source is there already. */
function addDisk(text: string, disk: GuestDisk): string {
  const present = childrenOf(devicesOf(text), 'disk')
  const sources = present.map((each) => child(each, 'source'))
  if (sources.some((each) => (attribute(each, 'file') ?? attribute(each, 'dev')) === disk.path)) return text
  const names = present.map((each) => attribute(child(each, 'target'), 'dev'))
  const prefix = PREFIX[disk.bus]
  const name = [...'abcdefghijklmnopqrstuvwxyz'].map((letter) => prefix + letter).find((each) => !names.includes(each))
  return addDevices(text, [diskElement(disk, name ?? `${prefix}z`, false, null)])
}
