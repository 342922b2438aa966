import { UserError } from '../../core/error.ts'
import { cpuList } from '../../host/cpu.ts'
import type { Guest } from '../devices/guest-devices.ts'
import type { Preset } from '../guest.ts'
import { windowArguments } from '../window.ts'
import { numaSettings } from './numa-settings.ts'
import type { Properties, VmSettings } from './vm-config.ts'
import { asAsked, decideStorage, isAsked, isQ35, type VmSetting, type VmTarget } from './vm-target.ts'

// The board of a VM of Proxmox. Source: qm(1), PVE::QemuServer and its CPUConfig (qemu-server).

const OS: Readonly<Record<Preset, string>> = {
  windows11: 'win11',
  windows10: 'win10',
  windows8: 'win8',
  windows7: 'win7',
  linux: 'l26',
}

/** Returns what runs in a VM, by its `ostype`; `undefined` for what no guest of ours is. */
export function presetOf(present: VmSettings): Preset | undefined {
  const type = present.get('ostype')
  return (Object.keys(OS) as Preset[]).find((preset) => OS[preset] === type)
}

/** Returns the settings of a VM's board. Throws a UserError with code `usage` for what Proxmox cannot have. */
export function boardSettings(guest: Guest, target: VmTarget): VmSetting[] {
  const { name, preset, chipset, firmware, memory } = guest
  if (
    target.present === null &&
    !/^(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i.test(name)
  )
    throw new UserError('usage', `--name ${name}: Proxmox takes names as DNS has them: letters, digits, - and .`)
  // A VM that there is runs somehow.
  if (target.present === null && preset === 'windows11' && (chipset === 'i440fx' || firmware.kind === 'bios'))
    throw new UserError(
      'usage',
      `--${chipset === 'i440fx' ? 'chipset i440fx' : 'firmware bios'}: Windows 11 wants UEFI with Secure Boot, on q35`,
    )
  if (isAsked(target, 'loader'))
    throw new UserError('usage', '--loader: Proxmox starts its own UEFI image; leave it out')
  noteOtherBoard(guest, target)
  const efi = firmware.kind !== 'bios'
  const scalar = (option: string, key: string, value: string): VmSetting => ({
    name: key,
    when: asAsked(target, option),
    value,
  })
  const settings: VmSetting[] = [
    scalar('name', 'name', name),
    scalar('guest', 'ostype', OS[preset]),
    { name: 'machine', when: asAsked(target, 'chipset'), value: { '': chipset === 'q35' ? 'q35' : 'pc' } },
    scalar('firmware', 'bios', efi ? 'ovmf' : 'seabios'),
    ...(efi && target.present?.has('efidisk0') !== true ? [efiDisk(preset, target)] : []),
    ...cpuSettings(guest, target),
    { name: 'memory', when: asAsked(target, 'memory'), value: { '': String(Math.ceil(memory.kib / 1024)) } },
    // Memory that a card may write to cannot be taken from the guest while it runs.
    ...(guest.cards.length > 0 || guest.igd !== null ? [{ name: 'balloon', when: 'new', value: '0' } as const] : []),
    ...numaSettings(guest, target),
    { name: 'agent', when: 'new', value: '1' },
    { name: 'scsihw', when: 'new', value: 'virtio-scsi-single' },
    ...argumentSettings(guest, target),
  ]
  return settings.filter((setting) => !isSameBoard(setting, target))
}

/** Has the VM this board already: by Proxmox's own default, or in a version of its own (`pc-q35-9.2+pve1`)? */
function isSameBoard({ name, value }: VmSetting, { present }: VmTarget): boolean {
  if (present === null) return false
  if (name === 'bios') return (present.get('bios') ?? 'seabios') === value
  return name === 'machine' && typeof value !== 'string' && isQ35(present) === (value[''] === 'q35')
}

/** Notes what becomes of an installed guest whose board or firmware is to be another. */
function noteOtherBoard({ chipset, firmware }: Guest, target: VmTarget): void {
  const { present, notes } = target
  if (present === null) return
  if (isAsked(target, 'chipset') && isQ35(present) !== (chipset === 'q35'))
    notes.push('another chipset: the installed guest finds its devices, network cards too, at other places')
  if (isAsked(target, 'firmware') && (present.get('bios') === 'ovmf') !== (firmware.kind !== 'bios'))
    notes.push('another firmware: a guest that was installed with the present one does not start with it')
}

function efiDisk(preset: Preset, target: VmTarget): VmSetting {
  const keys = preset === 'windows11' ? '1' : '0'
  return {
    name: 'efidisk0',
    when: 'missing',
    value: `${decideStorage(target)}:1,efitype=4m,pre-enrolled-keys=${keys}`,
  }
}

function cpuSettings(guest: Guest, target: VmTarget): VmSetting[] {
  const { pinning, hyperv, vendorId, hideKvm, addressBits, preset, vcpus } = guest
  const present = target.present?.get('cpu')
  if (vendorId !== null && !/^[A-Za-z0-9]{1,12}$/.test(vendorId))
    throw new UserError('usage', `--vendor-id ${vendorId}: Proxmox takes 1 to 12 letters and digits`)
  // Without the name, Hyper-V's flags give away what is hidden; a guest that is not Windows has none.
  const named = vendorId !== null && (preset !== 'linux' || isAsked(target, 'vendor-id'))
  const flags = (['tlbflush', 'evmcs'] as const).filter((flag) => hyperv?.includes(flag)).map((flag) => `+hv-${flag}`)
  const cpu: Properties = {
    ...(present === undefined || isAsked(target, 'cpu')
      ? { '': guest.cpuModel === 'host-passthrough' ? 'host' : guest.cpuModel }
      : {}),
    ...(hideKvm ? { hidden: '1' } : {}),
    ...(named && vendorId !== null ? { 'hv-vendor-id': vendorId } : {}),
    ...(present === undefined && flags.length > 0 ? { flags: flags.join(';') } : {}),
    ...(addressBits === null ? {} : { 'guest-phys-bits': String(addressBits) }),
  }
  if (addressBits !== null) target.notes.push('guest-phys-bits is known to qemu-server from 9.0.18 on (Proxmox VE 9)')
  const count = asAsked(target, 'vcpus', 'cores', 'pin')
  if (pinning !== null)
    target.notes.push(
      'affinity is taskset for all threads of QEMU together, and no pinning: each vCPU and the emulator run on any of these CPUs, and Proxmox shows the guest cores without threads',
    )
  return [
    {
      name: 'cpu',
      when:
        Object.keys(cpu).some((part) => part !== '' && part !== 'flags') || isAsked(target, 'cpu')
          ? 'asked'
          : 'missing',
      value: cpu,
    },
    { name: 'sockets', when: count, value: '1' },
    { name: 'cores', when: count, value: String(vcpus) },
    ...(pinning === null
      ? []
      : [
          {
            name: 'affinity',
            when: count,
            value: cpuList(pinning.vcpus.map((each) => each.cpu).sort((one, other) => one - other)),
          } as const,
        ]),
  ]
}

/** Returns the arguments for QEMU itself, behind those that the VM has. */
function argumentSettings({ mmio64Mib }: Guest, { present }: VmTarget): VmSetting[] {
  if (mmio64Mib === null) return []
  const [, value] = windowArguments(mmio64Mib)
  const before = present?.get('args') ?? ''
  if (before.includes('X-PciMmio64Mb')) return []
  return [{ name: 'args', when: 'asked', value: `${before} -fw_cfg ${value}`.trim() }]
}
