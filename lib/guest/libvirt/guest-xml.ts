import { supports, type Versions } from '../../core/versions.ts'
import { needsSmm } from '../firmware.ts'
import type { Graphics, Guest } from '../guest.ts'
import { windowArguments } from '../window.ts'
import { cpuElement, tuneElements } from './cpu-xml.ts'
import {
  cardHostdevs,
  diskElements,
  evdevElement,
  nicElement,
  rootPort,
  scsiController,
  scsiHostdev,
  shareElement,
  shmemElement,
  soundElements,
  tpmElement,
  usbHostdev,
} from './device-xml.ts'
import { renderElements, type XmlElement, xmlElement } from './xml-element.ts'

export const QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'

/** The whole domain, ready for `virsh define`. Source: https://libvirt.org/formatdomain.html */
export function guestXml(guest: Guest, versions: Versions): string {
  const tail = qemuElements(guest, versions)
  const { memory } = guest
  const domain = xmlElement(
    'domain',
    { type: 'kvm', 'xmlns:qemu': tail.length > 0 ? QEMU_NAMESPACE : null },
    xmlElement('name', {}, guest.name),
    xmlElement('memory', { unit: 'KiB' }, String(memory.kib)),
    xmlElement('currentMemory', { unit: 'KiB' }, String(memory.kib)),
    memoryBackingElement(guest),
    xmlElement('vcpu', { placement: 'static' }, String(guest.vcpus)),
    tuneElements(guest),
    osElement(guest),
    featuresElement(guest, versions),
    cpuElement(guest, versions),
    clockElement(guest),
    xmlElement('on_poweroff', {}, 'destroy'),
    xmlElement('on_reboot', {}, 'restart'),
    xmlElement('on_crash', {}, 'destroy'),
    xmlElement(
      'pm',
      {},
      xmlElement('suspend-to-mem', { enabled: 'no' }),
      xmlElement('suspend-to-disk', { enabled: 'no' }),
    ),
    devicesElement(guest, versions),
    tail,
  )
  return `${renderElements([domain])}\n`
}

export function memoryBackingElement({ memory }: Pick<Guest, 'memory'>): XmlElement | null {
  const { hugepageKib, shared } = memory
  if (hugepageKib === null && !shared) return null
  return xmlElement(
    'memoryBacking',
    {},
    hugepageKib !== null && hugepagesElement(hugepageKib),
    shared && xmlElement('source', { type: 'memfd' }),
    shared && xmlElement('access', { mode: 'shared' }),
  )
}

export function hugepagesElement(kib: number): XmlElement {
  return xmlElement('hugepages', {}, xmlElement('page', { size: kib, unit: 'KiB' }))
}

function osElement({ firmware, chipset }: Guest): XmlElement {
  const type = xmlElement('type', { arch: 'x86_64', machine: chipset === 'q35' ? 'q35' : 'pc' }, 'hvm')
  if (firmware.kind === 'bios') return xmlElement('os', {}, type)
  if (firmware.kind === 'auto') {
    const features = firmware.features.map(([name, required]) =>
      xmlElement('feature', { enabled: required ? 'yes' : 'no', name }),
    )
    return xmlElement(
      'os',
      { firmware: 'efi' },
      type,
      features.length > 0 && xmlElement('firmware', {}, features),
      firmware.secure && xmlElement('loader', { secure: 'yes' }),
    )
  }
  const format = firmware.format === 'raw' ? null : firmware.format
  return xmlElement(
    'os',
    {},
    type,
    xmlElement(
      'loader',
      { readonly: 'yes', secure: firmware.smm ? 'yes' : null, type: 'pflash', format },
      firmware.code,
    ),
    xmlElement('nvram', { template: firmware.vars, format }, firmware.nvram),
  )
}

function featuresElement(guest: Guest, versions: Versions): XmlElement {
  const { firmware, hyperv, vendorId } = guest
  const flags = (hyperv ?? []).map((flag) =>
    xmlElement(flag, { state: 'on', retries: flag === 'spinlocks' ? 8191 : null }),
  )
  return xmlElement(
    'features',
    {},
    xmlElement('acpi'),
    xmlElement('apic'),
    flags.length + Number(vendorId !== null) > 0 &&
      xmlElement('hyperv', {}, flags, vendorId !== null && xmlElement('vendor_id', { state: 'on', value: vendorId })),
    guest.hideKvm && supports(versions, 'hideKvm') && xmlElement('kvm', {}, xmlElement('hidden', { state: 'on' })),
    xmlElement('vmport', { state: 'off' }),
    needsSmm(firmware) && xmlElement('smm', { state: 'on' }),
    guest.ioapicKvm && xmlElement('ioapic', { driver: 'kvm' }),
  )
}

function clockElement({ localtime, hypervclock }: Guest): XmlElement {
  return xmlElement(
    'clock',
    { offset: localtime ? 'localtime' : 'utc' },
    xmlElement('timer', { name: 'rtc', tickpolicy: 'catchup' }),
    xmlElement('timer', { name: 'pit', tickpolicy: 'delay' }),
    xmlElement('timer', { name: 'hpet', present: 'no' }),
    hypervclock !== null && xmlElement('timer', { name: 'hypervclock', present: hypervclock ? 'yes' : 'no' }),
  )
}

/** The first slot of i440fx that libvirt does not give away by itself. */
const FIRST_SLOT = 0x10

function devicesElement(guest: Guest, versions: Versions): XmlElement {
  const { chipset, cards, disks, graphics } = guest
  const alias = supports(versions, 'aliases')
  const q35 = chipset === 'q35'
  const scsi = guest.scsi.length > 0 || disks.some(({ bus }) => bus === 'scsi')
  return xmlElement(
    'devices',
    {},
    diskElements(disks, guest.cdroms, {
      order: 1 + Number(cards.some(({ boot }) => boot)),
      cdromBus: q35 ? 'sata' : 'ide',
      iothread: guest.pinning !== null,
    }),
    q35 && xmlElement('controller', { type: 'pci', index: 0, model: 'pcie-root' }),
    q35 && cards.map((card, index) => rootPort(card, index + 1, alias)),
    usbControllers(guest),
    scsi && scsiController(guest.pinning !== null),
    guest.nics.map(nicElement),
    guest.preset === 'linux' && xmlElement('console', { type: 'pty' }),
    graphics !== null && installationElements(graphics),
    guest.evdev.map((dev, index) => evdevElement(dev, index === 0)),
    soundElements(guest.audio, q35 ? 'ich9' : 'ich6'),
    guest.tpm && tpmElement(),
    guest.shares.map(shareElement),
    cards.flatMap((card, index) =>
      cardHostdevs(card, q35 ? { port: index + 1 } : { slot: FIRST_SLOT + index }, card.boot ? 1 : null, alias),
    ),
    guest.scsi.map(scsiHostdev),
    guest.usb.map(usbHostdev),
    guest.frames?.device === 'shm' && shmemElement(guest.frames),
    graphics === null && xmlElement('video', {}, xmlElement('model', { type: 'none' })),
    xmlElement('memballoon', { model: 'none' }),
  )
}

function usbControllers({ usbController }: Guest): XmlElement[] {
  if (usbController === 'qemu-xhci') return [xmlElement('controller', { type: 'usb', index: 0, model: 'qemu-xhci' })]
  const companion = (number: number): XmlElement =>
    xmlElement(
      'controller',
      { type: 'usb', index: 0, model: `ich9-uhci${number}` },
      xmlElement('master', { startport: (number - 1) * 2 }),
    )
  return [
    xmlElement('controller', { type: 'usb', index: 0, model: 'ich9-ehci1' }),
    companion(1),
    companion(2),
    companion(3),
  ]
}

/** What an installation needs to be seen and used. */
function installationElements({ display, video }: Graphics): XmlElement[] {
  const tablet = xmlElement('input', { type: 'tablet', bus: 'usb' })
  const shown = xmlElement('video', {}, xmlElement('model', { type: video }))
  if (display === 'vnc') return [tablet, xmlElement('graphics', { type: 'vnc', autoport: 'yes' }), shown]
  return [
    xmlElement('channel', { type: 'spicevmc' }, xmlElement('target', { type: 'virtio', name: 'com.redhat.spice.0' })),
    tablet,
    xmlElement('graphics', { type: 'spice', autoport: 'yes' }, xmlElement('image', { compression: 'off' })),
    shown,
    xmlElement('redirdev', { bus: 'usb', type: 'spicevmc' }),
    xmlElement('redirdev', { bus: 'usb', type: 'spicevmc' }),
  ]
}

/** QEMU's own arguments for kvmfr, for which libvirt has no element. */
export function frameArguments({ frames }: Pick<Guest, 'frames'>): string[] {
  if (frames?.device !== 'kvmfr') return []
  const memory = `memory-backend-file,id=looking-glass,mem-path=/dev/kvmfr0,size=${frames.mib}M,share=on`
  return ['-device', 'ivshmem-plain,id=shmem0,memdev=looking-glass', '-object', memory]
}

/** QEMU's own arguments for the cards' windows, where libvirt has no element, or has none yet (9.3). */
export function addressingArguments(
  { mmio64Mib, addressBits, cpuModel }: Pick<Guest, 'mmio64Mib' | 'addressBits' | 'cpuModel'>,
  versions: Versions,
): string[] {
  const limited = cpuModel === 'host-passthrough' && addressBits !== null && !supports(versions, 'addressBits')
  return [
    ...(mmio64Mib === null ? [] : windowArguments(mmio64Mib)),
    ...(limited ? ['-global', `host-x86_64-cpu.host-phys-bits-limit=${addressBits}`] : []),
  ]
}

const GPU = 'ua-vfio-gpu'

/** What libvirt has no element for, or has none yet. */
function qemuElements(guest: Guest, versions: Versions): XmlElement[] {
  const vga = guest.cards.some(({ xVga }) => xVga)
  const override = vga && supports(versions, 'override')
  const args = [
    ...frameArguments(guest),
    ...addressingArguments(guest, versions),
    ...(vga && !override ? ['-set', `device.${supports(versions, 'aliases') ? GPU : 'hostdev0'}.x-vga=on`] : []),
    // Before 1.2.8 libvirt cannot hide KVM: a second -cpu takes the place of its own.
    ...(guest.hideKvm && !supports(versions, 'hideKvm')
      ? ['-cpu', `${guest.cpuModel.replace('-passthrough', '')},kvm=off`]
      : []),
  ]
  const property = xmlElement('qemu:property', { name: 'x-vga', type: 'bool', value: 'true' })
  return [
    ...(args.length === 0
      ? []
      : [
          xmlElement(
            'qemu:commandline',
            {},
            args.map((value) => xmlElement('qemu:arg', { value })),
          ),
        ]),
    ...(override
      ? [
          xmlElement(
            'qemu:override',
            {},
            xmlElement('qemu:device', { alias: GPU }, xmlElement('qemu:frontend', {}, property)),
          ),
        ]
      : []),
  ]
}
