import { UserError } from '../core/error.ts'
import { type Remarks, supports, supportsElseNote, type Versions } from '../core/versions.ts'
import type { VfioInterfaces } from '../host/kernel.ts'
import type { Arguments } from '../terminal/options.ts'
import type { BoardRequest } from './request.ts'

/** Who is told that devices go through iommufd: the whole guest, each device; `null`: none, VFIO groups are used. */
export type IommufdUse = 'guest' | 'device' | null

/** The name of the object of QEMU's that all cards go through. */
export const IOMMUFD = 'iommufd0'

/** The first versions that pass a device through iommufd, and that have one element for a whole guest. */
const ONE_DEVICE = { libvirt: '12.1.0', qemu: '9.0.0' } as const
const WHOLE_GUEST = { libvirt: '12.2.0', qemu: '9.0.0' } as const

/**
 * Decides whether the cards go through iommufd: on request, and with QEMU alone where the kernel has no VFIO groups. There
 * libvirt looks for /dev/vfio/vfio and starts no guest with devices (seen with 12.8). Throws a UserError: `usage` where
 * the kernel has no iommufd, `no-iommufd` where it has nothing else and libvirt or QEMU cannot use it.
 * Source: https://libvirt.org/formatdomain.html; QEMU, docs/devel/vfio-iommufd.rst.
 */
export function decideIommufd(
  given: Arguments,
  { groups, devices }: VfioInterfaces,
  asked: { format: BoardRequest['format']; versions: Versions; cards: number },
  remarks: Remarks,
): IommufdUse {
  const requested = given.flag('iommufd')
  if (requested && asked.format === 'proxmox')
    throw new UserError('usage', '--iommufd: Proxmox has no setting for it; leave it out')
  if (requested && asked.cards === 0) throw new UserError('usage', '--iommufd goes with --gpu, --pci or --vf')
  if (asked.cards === 0 || asked.format === 'proxmox' || (!requested && groups !== false)) return null
  if (devices === false)
    throw new UserError(
      'usage',
      '--iommufd: this kernel has none for devices (CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV, Linux 6.6 and later); leave it out',
    )
  const versions = asked.format === 'qemu' ? { ...asked.versions, libvirt: null } : asked.versions
  const lacksGroups = 'this kernel has no VFIO groups (CONFIG_VFIO_GROUP)'
  if (groups === false && asked.format !== 'qemu') {
    const refused = `${lacksGroups}, without which libvirt starts no guest with devices (12.8 still): use a kernel with them, or --format qemu`
    if (!requested) throw new UserError('no-iommufd', refused)
    remarks.notes.push(refused)
  }
  if (groups === false && !supports(versions, ONE_DEVICE))
    throw new UserError(
      'no-iommufd',
      `${lacksGroups}, and iommufd needs ${asked.format === 'qemu' ? '' : `libvirt ${ONE_DEVICE.libvirt} and `}QEMU ${ONE_DEVICE.qemu}: use that, or a kernel with VFIO groups`,
    )
  if (!supportsElseNote(versions, ONE_DEVICE, 'iommufd (the cards go through VFIO groups)', remarks)) return null
  remarks.reasons.push(requested ? 'iommufd, as asked' : `iommufd: ${lacksGroups}`)
  if (asked.cards > 1)
    remarks.notes.push(
      'DMA from one card to the other (peer to peer) goes through iommufd from Linux 6.19 on, with a QEMU that maps the windows of cards (BARs) by dma-buf; before, each card reaches the memory of the guest alone',
    )
  if (asked.format === 'qemu')
    remarks.notes.push(
      'iommufd: who starts QEMU without being root needs /dev/iommu and /dev/vfio/devices: tune-host --vfio-group kvm',
    )
  return given.value('patch') === undefined && supports(versions, WHOLE_GUEST) ? 'guest' : 'device'
}
