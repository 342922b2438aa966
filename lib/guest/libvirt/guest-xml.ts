import { allows, type Versions } from '../../core/versions.ts'
import { needsSmm } from '../firmware.ts'
import type { Graphics, Guest } from '../guest.ts'
import { windowArguments } from '../window.ts'
import { cpuPart, tuneParts } from './cpu-xml.ts'
import {
  diskParts,
  evdevPart,
  hostdevs,
  nicPart,
  rootPort,
  scsiController,
  scsiHostdev,
  sharePart,
  shmemPart,
  soundParts,
  tpmPart,
  usbHostdev,
} from './device-xml.ts'
import { buildParts, type Part, part } from './part.ts'

export const QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'

/** The whole domain, ready for `virsh define`. Source: https://libvirt.org/formatdomain.html */
export function guestXml(guest: Guest, versions: Versions): string {
  const tail = qemuParts(guest, versions)
  const { memory } = guest
  const domain = part(
    'domain',
    { type: 'kvm', 'xmlns:qemu': tail.length > 0 ? QEMU_NAMESPACE : null },
    part('name', {}, guest.name),
    part('memory', { unit: 'KiB' }, String(memory.kib)),
    part('currentMemory', { unit: 'KiB' }, String(memory.kib)),
    memoryBacking(guest),
    part('vcpu', { placement: 'static' }, String(guest.vcpus)),
    tuneParts(guest),
    osPart(guest),
    featuresPart(guest, versions),
    cpuPart(guest, versions),
    clockPart(guest),
    part('on_poweroff', {}, 'destroy'),
    part('on_reboot', {}, 'restart'),
    part('on_crash', {}, 'destroy'),
    part('pm', {}, part('suspend-to-mem', { enabled: 'no' }), part('suspend-to-disk', { enabled: 'no' })),
    devicesPart(guest, versions),
    tail,
  )
  return `${buildParts([domain])}\n`
}

export function memoryBacking({ memory }: Pick<Guest, 'memory'>): Part | null {
  const { hugepageKib, shared } = memory
  if (hugepageKib === null && !shared) return null
  return part(
    'memoryBacking',
    {},
    hugepageKib !== null && hugepagesPart(hugepageKib),
    shared && part('source', { type: 'memfd' }),
    shared && part('access', { mode: 'shared' }),
  )
}

export function hugepagesPart(kib: number): Part {
  return part('hugepages', {}, part('page', { size: kib, unit: 'KiB' }))
}

function osPart({ firmware, chipset }: Guest): Part {
  const type = part('type', { arch: 'x86_64', machine: chipset === 'q35' ? 'q35' : 'pc' }, 'hvm')
  if (firmware.kind === 'bios') return part('os', {}, type)
  if (firmware.kind === 'auto') {
    const features = firmware.features.map(([name, wanted]) =>
      part('feature', { enabled: wanted ? 'yes' : 'no', name }),
    )
    return part(
      'os',
      { firmware: 'efi' },
      type,
      features.length > 0 && part('firmware', {}, features),
      firmware.secure && part('loader', { secure: 'yes' }),
    )
  }
  const format = firmware.format === 'raw' ? null : firmware.format
  return part(
    'os',
    {},
    type,
    part('loader', { readonly: 'yes', secure: firmware.smm ? 'yes' : null, type: 'pflash', format }, firmware.code),
    part('nvram', { template: firmware.vars, format }, firmware.nvram),
  )
}

function featuresPart(guest: Guest, versions: Versions): Part {
  const { firmware, hyperv, vendorId } = guest
  const flags = (hyperv ?? []).map((flag) => part(flag, { state: 'on', retries: flag === 'spinlocks' ? 8191 : null }))
  return part(
    'features',
    {},
    part('acpi'),
    part('apic'),
    flags.length + Number(vendorId !== null) > 0 &&
      part('hyperv', {}, flags, vendorId !== null && part('vendor_id', { state: 'on', value: vendorId })),
    guest.hideKvm && allows(versions, 'hideKvm') && part('kvm', {}, part('hidden', { state: 'on' })),
    part('vmport', { state: 'off' }),
    needsSmm(firmware) && part('smm', { state: 'on' }),
    guest.ioapicKvm && part('ioapic', { driver: 'kvm' }),
  )
}

function clockPart({ localtime, hypervclock }: Guest): Part {
  return part(
    'clock',
    { offset: localtime ? 'localtime' : 'utc' },
    part('timer', { name: 'rtc', tickpolicy: 'catchup' }),
    part('timer', { name: 'pit', tickpolicy: 'delay' }),
    part('timer', { name: 'hpet', present: 'no' }),
    hypervclock !== null && part('timer', { name: 'hypervclock', present: hypervclock ? 'yes' : 'no' }),
  )
}

/** The first slot of i440fx that libvirt does not give away by itself. */
const FIRST_SLOT = 0x10

function devicesPart(guest: Guest, versions: Versions): Part {
  const { chipset, cards, disks, graphics } = guest
  const alias = allows(versions, 'aliases')
  const q35 = chipset === 'q35'
  const scsi = guest.scsi.length > 0 || disks.some(({ bus }) => bus === 'scsi')
  return part(
    'devices',
    {},
    diskParts(disks, guest.cdroms, {
      order: 1 + Number(cards.some(({ boot }) => boot)),
      cdromBus: q35 ? 'sata' : 'ide',
      iothread: guest.pinning !== null,
    }),
    q35 && part('controller', { type: 'pci', index: 0, model: 'pcie-root' }),
    q35 && cards.map((card, index) => rootPort(card, index + 1, alias)),
    usbControllers(guest),
    scsi && scsiController(guest.pinning !== null),
    guest.nics.map(nicPart),
    guest.preset === 'linux' && part('console', { type: 'pty' }),
    graphics !== null && installationParts(graphics),
    guest.evdev.map((dev, index) => evdevPart(dev, index === 0)),
    soundParts(guest.audio, q35 ? 'ich9' : 'ich6'),
    guest.tpm && tpmPart(),
    guest.shares.map(sharePart),
    cards.flatMap((card, index) =>
      hostdevs(card, q35 ? { port: index + 1 } : { slot: FIRST_SLOT + index }, card.boot ? 1 : null, alias),
    ),
    guest.scsi.map(scsiHostdev),
    guest.usb.map(usbHostdev),
    guest.frames?.device === 'shm' && shmemPart(guest.frames),
    graphics === null && part('video', {}, part('model', { type: 'none' })),
    part('memballoon', { model: 'none' }),
  )
}

function usbControllers({ usbController }: Guest): Part[] {
  if (usbController === 'qemu-xhci') return [part('controller', { type: 'usb', index: 0, model: 'qemu-xhci' })]
  const companion = (number: number): Part =>
    part(
      'controller',
      { type: 'usb', index: 0, model: `ich9-uhci${number}` },
      part('master', { startport: (number - 1) * 2 }),
    )
  return [part('controller', { type: 'usb', index: 0, model: 'ich9-ehci1' }), companion(1), companion(2), companion(3)]
}

/** What an installation needs to be seen and used. */
function installationParts({ display, video }: Graphics): Part[] {
  const tablet = part('input', { type: 'tablet', bus: 'usb' })
  const shown = part('video', {}, part('model', { type: video }))
  if (display === 'vnc') return [tablet, part('graphics', { type: 'vnc', autoport: 'yes' }), shown]
  return [
    part('channel', { type: 'spicevmc' }, part('target', { type: 'virtio', name: 'com.redhat.spice.0' })),
    tablet,
    part('graphics', { type: 'spice', autoport: 'yes' }, part('image', { compression: 'off' })),
    shown,
    part('redirdev', { bus: 'usb', type: 'spicevmc' }),
    part('redirdev', { bus: 'usb', type: 'spicevmc' }),
  ]
}

/** QEMU's own arguments for kvmfr, for which libvirt has no element. */
export function frameArguments({ frames }: Pick<Guest, 'frames'>): string[] {
  if (frames?.device !== 'kvmfr') return []
  const memory = `memory-backend-file,id=looking-glass,mem-path=/dev/kvmfr0,size=${frames.mib}M,share=on`
  return ['-device', 'ivshmem-plain,id=shmem0,memdev=looking-glass', '-object', memory]
}

/** QEMU's own arguments for the cards' windows, where libvirt has no element, or has none yet (9.3). */
export function widthArguments(
  { mmio64Mib, addressBits, cpuModel }: Pick<Guest, 'mmio64Mib' | 'addressBits' | 'cpuModel'>,
  versions: Versions,
): string[] {
  const limited = cpuModel === 'host-passthrough' && addressBits !== null && !allows(versions, 'addressBits')
  return [
    ...(mmio64Mib === null ? [] : windowArguments(mmio64Mib)),
    ...(limited ? ['-global', `host-x86_64-cpu.host-phys-bits-limit=${addressBits}`] : []),
  ]
}

const GPU = 'ua-vfio-gpu'

/** What libvirt has no element for, or has none yet. */
function qemuParts(guest: Guest, versions: Versions): Part[] {
  const vga = guest.cards.some(({ xVga }) => xVga)
  const override = vga && allows(versions, 'override')
  const args = [
    ...frameArguments(guest),
    ...widthArguments(guest, versions),
    ...(vga && !override ? ['-set', `device.${allows(versions, 'aliases') ? GPU : 'hostdev0'}.x-vga=on`] : []),
    // Before 1.2.8 libvirt cannot hide KVM: a second -cpu takes the place of its own.
    ...(guest.hideKvm && !allows(versions, 'hideKvm')
      ? ['-cpu', `${guest.cpuModel.replace('-passthrough', '')},kvm=off`]
      : []),
  ]
  const property = part('qemu:property', { name: 'x-vga', type: 'bool', value: 'true' })
  return [
    ...(args.length === 0
      ? []
      : [
          part(
            'qemu:commandline',
            {},
            args.map((value) => part('qemu:arg', { value })),
          ),
        ]),
    ...(override
      ? [part('qemu:override', {}, part('qemu:device', { alias: GPU }, part('qemu:frontend', {}, property)))]
      : []),
  ]
}
