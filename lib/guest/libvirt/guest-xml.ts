import { supports, type Versions } from '../../core/versions.ts'
import { noVideo } from '../devices/display.ts'
import { GUEST_DEVICES, type Guest } from '../devices/guest-devices.ts'
import { needsSmm } from '../firmware.ts'
import type { GuestBoard } from '../guest.ts'
import { windowArguments } from '../window.ts'
import { cpuElement, memoryBackingElement, tuneElements } from './resource-xml.ts'
import { QEMU_NAMESPACE, renderElements, type XmlElement, xmlElement } from './xml-element.ts'

/** Returns the whole domain, ready for `virsh define`. Source: https://libvirt.org/formatdomain.html */
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
    guest.iommufd === 'guest' && xmlElement('iommufd', { enabled: 'yes' }),
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

/** The order of elements in `<devices>`; other kinds come last. */
const KINDS = [
  ...['disk', 'controller', 'interface', 'console', 'channel', 'input', 'graphics', 'video', 'redirdev'],
  ...['sound', 'audio', 'tpm', 'filesystem', 'hostdev', 'shmem'],
]

/** Returns device elements in the order of their kinds; those of one kind keep their order. */
export function sortDevices<Sorted extends { name: string }>(elements: readonly Sorted[]): Sorted[] {
  const rank = ({ name }: Sorted): number => (KINDS.includes(name) ? KINDS.indexOf(name) : KINDS.length)
  return [...elements].sort((one, other) => rank(one) - rank(other))
}

function devicesElement(guest: Guest, versions: Versions): XmlElement {
  const root = xmlElement('controller', { type: 'pci', index: 0, model: 'pcie-root' })
  const elements = GUEST_DEVICES.flatMap((device) => device.xml(guest, versions))
  return xmlElement(
    'devices',
    {},
    sortDevices([...(guest.chipset === 'q35' ? [root] : []), ...elements]),
    guest.graphics === null && noVideo(),
    xmlElement('memballoon', { model: 'none' }),
  )
}

/** Returns QEMU's own arguments for the cards' windows, where libvirt has no element, or has none yet (9.3). */
export function addressingArguments(
  { mmio64Mib, addressBits, cpuModel }: Pick<GuestBoard, 'mmio64Mib' | 'addressBits' | 'cpuModel'>,
  versions: Versions,
): string[] {
  const limited = cpuModel === 'host-passthrough' && addressBits !== null && !supports(versions, 'addressBits')
  return [
    ...(mmio64Mib === null ? [] : windowArguments(mmio64Mib)),
    ...(limited ? ['-global', `host-x86_64-cpu.host-phys-bits-limit=${addressBits}`] : []),
  ]
}

/** Returns the elements that pass on to QEMU what libvirt has no element for, or has none yet. */
function qemuElements(guest: Guest, versions: Versions): XmlElement[] {
  const args = [
    ...GUEST_DEVICES.flatMap((device) => device.passedOn?.(guest, versions) ?? []),
    ...addressingArguments(guest, versions),
    // Before 1.2.8 libvirt cannot hide KVM: a second -cpu takes the place of its own.
    ...(guest.hideKvm && !supports(versions, 'hideKvm')
      ? ['-cpu', `${guest.cpuModel.replace('-passthrough', '')},kvm=off`]
      : []),
  ]
  const values = args.map((value) => xmlElement('qemu:arg', { value }))
  const overrides = supports(versions, 'override')
    ? GUEST_DEVICES.flatMap((device) => device.overrides?.(guest, versions) ?? [])
    : []
  return [
    ...(values.length > 0 ? [xmlElement('qemu:commandline', {}, values)] : []),
    ...(overrides.length > 0 ? [xmlElement('qemu:override', {}, overrides)] : []),
  ]
}
