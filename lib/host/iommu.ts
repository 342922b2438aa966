import { UserError } from '../core/error.ts'
import { parseCommandLine, readRunningConfig } from './kernel.ts'
import { withLater } from './later.ts'
import { cardOf, compareAddresses, type PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** The state of the host's IOMMU. */
export interface IommuState {
  /** Are PCI devices in IOMMU groups? `null`: the tree does not say. */
  enabled: boolean | null
  kind: 'intel' | 'amd' | 'arm' | 'virtio' | 'other' | null
  /** The reason why it is off, for programs; `null` when it is on. */
  code: 'firmware-off' | 'kernel-parameter' | 'kernel-config' | 'virtual-machine' | 'no-hardware' | 'unknown' | null
  /** The reason why it is off and the steps to take, for people; `null` when it is on. */
  reason: string | null
}

/** One IOMMU group: the smallest set of devices that can go to a guest. */
export interface IommuGroup {
  id: number
  /**
   * The type of the default domain: `DMA`, `DMA-FQ`, `identity`, `blocked`; `null` when not readable (before Linux
   * 5.11).
   */
  type: string | null
  /**
   * Bridges aside, does the group hold the functions of one card only? `null`: a device that may be in it was not seen.
   */
  isolated: boolean | null
  devices: PciDevice[]
  /** The members that are not PCI devices: mediated devices (their UUID), platform devices. */
  others: { name: string; bus: string | null }[]
}

export interface IommuGroups {
  groups: IommuGroup[]
  ungrouped: PciDevice[]
}

const GROUPS = '/sys/kernel/iommu_groups'

/**
 * Returns the members of each IOMMU group by the groups' folders: addresses of PCI functions, and names of others.
 * Throws a UserError with code `unreadable` for a group's folder that is no number.
 * Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups.
 */
export function readIommuMembers(reader: Reader): Map<number, readonly string[]> {
  const members = new Map<number, readonly string[]>()
  for (const name of reader.list(GROUPS) ?? []) {
    if (!/^\d{1,9}$/.test(name)) throw new UserError('unreadable', `${GROUPS}/${name}: not a group number`)
    members.set(Number(name), reader.list(`${GROUPS}/${name}/devices`) ?? [])
  }
  return members
}

/**
 * Returns the IOMMU groups in numeric order. The groups' folders (`members`) and the devices' own `iommu_group` links
 * are put together, so that a group counts when only one of them is there.
 */
export function readIommuGroups(
  reader: Reader,
  members: ReadonlyMap<number, readonly string[]>,
  devices: readonly PciDevice[],
  unread: readonly string[] = [],
): IommuGroups {
  const known = new Set(devices.map((device) => device.address))
  const groups = new Map<number, IommuGroup>()
  const ungrouped: PciDevice[] = []
  const group = (id: number): IommuGroup => {
    let found = groups.get(id)
    if (found === undefined) {
      const type = reader.later(() => reader.optionalText(`${GROUPS}/${id}/type`) ?? null)
      found = withLater({ id, isolated: false, devices: [], others: [] }, { type })
      groups.set(id, found)
    }
    return found
  }
  for (const [id, names] of members) {
    const { others } = group(id)
    for (const name of names)
      if (!known.has(name)) others.push({ name, bus: busOf(reader, `${GROUPS}/${id}/devices/${name}`) })
  }
  for (const device of devices) {
    if (device.group === null) ungrouped.push(device)
    else group(device.group).devices.push(device)
  }
  const sorted = [...groups.values()].sort((one, other) => one.id - other.id)
  for (const each of sorted) {
    each.devices.sort((one, other) => compareAddresses(one.address, other.address))
    each.isolated = isIsolated(each, unread)
  }
  return { groups: sorted, ungrouped }
}

function busOf(reader: Reader, member: string): string | null {
  const path = reader.resolve(member)
  const bus = path === undefined ? undefined : reader.linkName(`${path}/subsystem`)
  return (
    bus ??
    (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(member.slice(member.lastIndexOf('/') + 1)) ? 'mdev' : null)
  )
}

/**
 * Does the group hold, host and PCI bridges aside, one card's functions and nothing else? A group with an ISA bridge is
 * never isolated: the chipset's other functions share its slot, but are no card.
 */
function isIsolated(group: IommuGroup, unread: readonly string[]): boolean | null {
  const endpoints = group.devices.filter((device) => !device.bridge)
  const legacy = group.devices.some((device) => /^060[123]$/.test(device.class.id))
  const others = group.others.filter(({ name }) => !unread.includes(name))
  const isOneCard = endpoints.length < 2 || new Set(endpoints.map(cardOf)).size === 1
  const isolated = !legacy && others.length === 0 && isOneCard
  if (isolated && unread.length > 0) return null
  return isolated && endpoints.length > 0
}

/** Returns whether the IOMMU is on, which one it is, and if it is off, the reason and the steps to take. */
export function readIommuState(reader: Reader, groups: IommuGroups): IommuState {
  const kind = iommuKind(reader)
  if (groups.groups.some((group) => group.devices.length > 0)) return { enabled: true, kind, code: null, reason: null }
  if ([...reader.denied.keys()].some((path) => path.startsWith('/sys')))
    return { enabled: null, kind, code: 'unknown', reason: 'Not all of /sys can be read: run as root.' }
  if (reader.exists('/sys/kernel')) {
    const { length } = reader.denials
    const why = explain(reader)
    const unreadable = {
      code: 'unknown',
      reason: 'The IOMMU is off; not all that says why can be read: run as root.',
    } as const
    return { enabled: false, kind, ...(reader.denials.length > length ? unreadable : why) }
  }
  return { enabled: null, kind, code: 'unknown', reason: `This tree has no ${GROUPS}: it does not say.` }
}

/** Returns the kind of the IOMMU by the names of its units; `null` when there are none. */
export function iommuKind(reader: Reader): IommuState['kind'] {
  const units = reader.list('/sys/class/iommu') ?? []
  const has = (pattern: RegExp): boolean => units.some((unit) => pattern.test(unit))
  if (has(/^dmar\d/)) return 'intel'
  if (has(/^ivhd\d/)) return 'amd'
  if (has(/smmu/)) return 'arm'
  if (has(/virtio/)) return 'virtio'
  return units.length > 0 ? 'other' : null
}

/** Finds the first thing on the way from firmware to kernel that is not as it must be. */
function explain(reader: Reader): { code: NonNullable<IommuState['code']>; reason: string } {
  const tables = reader.list('/sys/firmware/acpi/tables')
  const cmdline = parseCommandLine(reader.optionalText('/proc/cmdline') ?? '')
  // The first processor is enough; reading all of them takes long on a large host.
  const cpu = reader.optionalBytes('/proc/cpuinfo', 8192)?.toString('latin1')
  const amd = /AuthenticAMD|HygonGenuine/.test(cpu ?? '') || (tables?.includes('IVRS') ?? false)
  const hasTable = tables?.some((name) => /^(DMAR|IVRS|VIOT|IORT)$/.test(name))
  const virtual = /^flags\s*:.*\bhypervisor\b/m.test(cpu ?? '')
  const x86 = cpu === undefined || /^flags\s*:/m.test(cpu)
  const off = cmdline.find(({ name, value }) => {
    if (name === 'iommu') return value?.split(',').includes('off')
    return (name === 'intel_iommu' || name === 'amd_iommu') && value?.split(',').includes('off')
  })
  if (off !== undefined && hasTable) {
    return {
      code: 'kernel-parameter',
      reason: `The kernel parameter ${off.token} switches the IOMMU off. Remove it from the kernel command line and reboot.`,
    }
  }
  if (hasTable) return explainKernel(reader, cmdline, amd)
  if (virtual) {
    const vm = [
      reader.optionalText('/sys/class/dmi/id/sys_vendor'),
      reader.optionalText('/sys/class/dmi/id/product_name'),
    ]
    const which = vm.filter(Boolean).join(' ')
    return {
      code: 'virtual-machine',
      reason:
        `This is a virtual machine${which ? ` (${which})` : ''} without an IOMMU of its own. ` +
        'Give it one on its host (QEMU: -device intel-iommu,intremap=on,caching-mode=on), or run this on the host.',
    }
  }
  if (tables === undefined && !reader.exists('/sys/firmware')) {
    return { code: 'unknown', reason: 'This tree has no /sys/firmware: it does not say why.' }
  }
  if (!x86) {
    return {
      code: 'no-hardware',
      reason:
        'No IOMMU is registered, and the firmware describes none (no IORT or VIOT table). Without one, no passthrough.',
    }
  }
  if (tables === undefined) {
    const what =
      'There is no /sys/firmware/acpi/tables, as in a container: whether the firmware has a table of an IOMMU'
    return { code: 'unknown', reason: `${what} was not seen. Run this on the host itself.` }
  }
  const flag = amd ? 'svm' : 'vmx'
  if (cpu !== undefined && !new RegExp(`^flags\\s*:.*\\b${flag}\\b`, 'm').test(cpu)) {
    return {
      code: 'firmware-off',
      reason:
        `The CPU does not show ${flag}, and the firmware has no ${amd ? 'IVRS' : 'DMAR'} table: virtualisation is off in the firmware, or this CPU has none. ` +
        (amd ? 'Switch on SVM and IOMMU in the firmware setup.' : 'Switch on VT-x and VT-d in the firmware setup.'),
    }
  }
  return {
    code: 'firmware-off',
    reason:
      `The firmware has no ${amd ? 'IVRS' : 'DMAR'} table. Switch on ${amd ? 'IOMMU (AMD-Vi)' : 'VT-d (Intel VT for Directed I/O)'} ` +
      'in the firmware setup; if there is no such switch, this board or CPU has no IOMMU.',
  }
}

/** Finds the reason when the firmware describes an IOMMU, yet there are no groups. */
function explainKernel(
  reader: Reader,
  cmdline: ReturnType<typeof parseCommandLine>,
  amd: boolean,
): { code: NonNullable<IommuState['code']>; reason: string } {
  const config = readRunningConfig(reader)
  const symbol = amd ? 'CONFIG_AMD_IOMMU' : 'CONFIG_INTEL_IOMMU'
  if (config !== undefined && !config.has(symbol)) {
    return { code: 'kernel-config', reason: `This kernel was built without ${symbol}. Use one that has it.` }
  }
  const onByDefault = config?.get('CONFIG_INTEL_IOMMU_DEFAULT_ON') === 'y'
  if (
    !amd &&
    !onByDefault &&
    !cmdline.some(({ name, value }) => name === 'intel_iommu' && /(^|,)on(,|$)/.test(value ?? ''))
  ) {
    return {
      code: 'kernel-parameter',
      reason:
        'The firmware has a DMAR table, but the kernel parameter intel_iommu=on is missing. Add it to the kernel command line and reboot.',
    }
  }
  return {
    code: 'unknown',
    reason: `The firmware describes an IOMMU and the kernel was not told to leave it off. Look into the kernel log: dmesg | grep -iE '${amd ? 'AMD-Vi' : 'DMAR'}|iommu'`,
  }
}
