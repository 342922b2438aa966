import { UserError } from '../../core/error.ts'
import { scsiAddress } from '../../host/disk-images.ts'
import { listOption, pathValues } from '../guest-arguments.ts'
import { renderElements, type XmlElement, xmlElement } from '../libvirt/xml-element.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import type { GuestDevice } from './guest-device.ts'

// The SCSI device is passed on whole: burning and region codes work, which a CD-ROM image of the drive cannot do.

interface ScsiDevice {
  path: string
  /** Host, bus, target, unit: its name in /sys/bus/scsi. */
  host: number
  bus: number
  target: number
  unit: number
}

interface OpticalFacts {
  /** Path → host, bus, target, unit. */
  scsiAddresses: ReadonlyMap<string, readonly number[]>
}

export interface DecidedOptical {
  /** SCSI devices that are passed on whole: optical drives that write. */
  scsi: ScsiDevice[]
}

export const opticalDrives: GuestDevice<OpticalFacts, DecidedOptical> = {
  options: [listOption('optical', 'DEV', 'an optical drive, passed on whole: /dev/sr0')],
  read: ({ reader }, given) => ({
    scsiAddresses: new Map(pathValues(given, 'optical').map((path) => [path, scsiAddress(reader, path) ?? []])),
  }),
  decide: (given, { scsiAddresses }) => ({
    scsi: given.list('optical').map((path) => {
      const [host, bus, target, unit] = scsiAddresses.get(path) ?? []
      if (host === undefined || bus === undefined || target === undefined || unit === undefined)
        throw new UserError('no-device', `--optical ${path}: no SCSI device; optical drives are /dev/sr0, /dev/sr1 …`)
      return { path, host, bus, target, unit }
    }),
  }),
  xml: ({ scsi }) => scsi.map(hostdevOf),
  match: { hostdev: ['@type', 'source/adapter', 'source/address'] },
  qemu: ({ scsi }) =>
    scsi.flatMap(({ path }, index) => [
      ['-drive', driveValue(path, index)],
      ['-device', deviceValue(index)],
    ]),
  // The monitor's lines that take the drive out and put it back while the guest runs.
  monitor: ({ scsi }) =>
    scsi.flatMap(({ path }, index) => [
      `device_del optical${index}`,
      `drive_add 0 ${driveValue(path, index)}`,
      `device_add ${deviceValue(index)}`,
    ]),
}

function hostdevOf({ host, bus, target, unit }: ScsiDevice): XmlElement {
  return xmlElement(
    'hostdev',
    { mode: 'subsystem', type: 'scsi', managed: 'no', rawio: 'no' },
    xmlElement(
      'source',
      {},
      xmlElement('adapter', { name: `scsi_host${host}` }),
      xmlElement('address', { bus, target, unit }),
    ),
    xmlElement('readonly'),
  )
}

/** Returns the lines that take the drives out of the running guest and put them back. Source: virsh(1). */
export function opticalLines(name: string, { scsi }: DecidedOptical): string[] {
  return scsi.flatMap((drive) => {
    const xml = renderElements([hostdevOf(drive)]).replace(/\n\s*/g, '')
    const line = (verb: string): string => `echo "${xml}" | virsh ${verb}-device ${name} /dev/stdin --live`
    return [
      `${drive.path}: out of the running guest, so that the host can use it: ${line('detach')}`,
      `${drive.path}: back into it: ${line('attach')}`,
    ]
  })
}

const driveValue = (path: string, index: number): string =>
  `if=none,id=optical${index},file=${escapeCommas(path)},format=raw`

const deviceValue = (index: number): string => `scsi-block,bus=scsi.0,drive=optical${index},id=optical${index}`
