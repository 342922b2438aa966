import { xmlElement } from '../libvirt/xml-element.ts'
import type { DecidedDisks } from './disks.ts'
import type { GuestDevice } from './guest-device.ts'
import type { DecidedOptical } from './optical.ts'

// The controller of SCSI disks and drives. libvirt's own choice would be a model for which new guests have no driver.

const isNeeded = ({ disks, scsi }: DecidedDisks & DecidedOptical): boolean =>
  scsi.length > 0 || disks.some(({ bus }) => bus === 'scsi')

export const scsiController: GuestDevice<object, object, DecidedDisks & DecidedOptical> = {
  options: [],
  decide: () => ({}),
  xml: (guest) =>
    isNeeded(guest)
      ? [
          xmlElement(
            'controller',
            { type: 'scsi', index: 0, model: 'virtio-scsi' },
            guest.pinning !== null && xmlElement('driver', { iothread: 1 }),
          ),
        ]
      : [],
  match: { controller: ['@type'] },
  qemu: (guest) => (isNeeded(guest) ? [['-device', 'virtio-scsi-pci,id=scsi']] : []),
}
