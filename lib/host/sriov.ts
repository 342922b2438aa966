import { createHash } from 'node:crypto'
import { compareAddresses, isVfio, type PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/**
 * What a physical function says of its virtual functions. Unknown is `null`: older kernels lack some of these files.
 * Source: Documentation/ABI/testing/sysfs-bus-pci (sriov_*), Documentation/PCI/pci-iov-howto.rst.
 */
export interface Sriov {
  /** How many it could have. */
  total: number | null
  /** How many it has now. */
  number: number | null
  /** Do host drivers take new ones by themselves? */
  autoprobe: boolean | null
  /** The device ID that they have. */
  vfDevice: string | null
  /** The distance to the first one, and from one to the next, in routing IDs; both may change with their number. */
  offset: number | null
  stride: number | null
}

/** Reads what a physical function says of its virtual functions; `null` for a device that cannot have any. */
export function readSriov(reader: Reader, { path }: Pick<PciDevice, 'path'>): Sriov | null {
  const text = (name: string): string | undefined => reader.optionalText(`${path}/sriov_${name}`)?.trim()
  const count = (name: string): number | null => {
    const value = text(name)
    return value !== undefined && /^\d{1,5}$/.test(value) ? Number(value) : null
  }
  if (!reader.exists(`${path}/sriov_totalvfs`)) return null
  const autoprobe = text('drivers_autoprobe')
  return {
    total: count('totalvfs'),
    number: count('numvfs'),
    autoprobe: autoprobe === undefined ? null : autoprobe === '1',
    vfDevice: text('vf_device') ?? null,
    offset: count('offset'),
    stride: count('stride'),
  }
}

/** Returns the virtual functions of a physical one, in the order of their numbers. */
export function virtualFunctionsOf(
  reader: Reader,
  physical: PciDevice,
  devices: readonly PciDevice[],
): { index: number; device: PciDevice }[] {
  const own = devices.filter(({ physicalFunction }) => physicalFunction === physical.address)
  const names = (reader.list(physical.path) ?? []).flatMap((name) => /^virtfn(\d+)$/.exec(name)?.[1] ?? [])
  const numbers = new Map(
    names.map((index) => [reader.linkName(`${physical.path}/virtfn${index}`), Number(index)] as const),
  )
  return [...own]
    .sort((one, other) => compareAddresses(one.address, other.address))
    .map((device, place) => ({ index: numbers.get(device.address) ?? place, device }))
    .sort((one, other) => one.index - other.index)
}

/**
 * Returns the addresses that so many virtual functions would have, by the offset and stride of now; none where these
 * are not known. Source: pci_iov_virtfn_bus() and pci_iov_virtfn_devfn() of drivers/pci/iov.c.
 */
export function predictedFunctions(address: string, { offset, stride }: Sriov, count: number): string[] {
  const [, domain, bus = '', slot = '', fn = ''] = /^(.+):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(address) ?? []
  if (domain === undefined || offset === null || stride === null || offset === 0 || (stride === 0 && count > 1))
    return []
  const first = Number.parseInt(bus, 16) * 256 + Number.parseInt(slot, 16) * 8 + Number(fn) + offset
  const hex = (value: number): string => value.toString(16).padStart(2, '0')
  return Array.from({ length: count }, (_, index) => first + index * stride).map(
    (id) => `${domain}:${hex(id >> 8)}:${hex((id >> 3) & 31)}.${id & 7}`,
  )
}

const INTEL_WITHOUT: Readonly<Record<string, string>> = {
  i915: "this i915 makes none: that of i915-sriov-dkms does, and the kernel's xe for newer GPUs",
  xe: 'this xe makes none: that of a newer kernel does, and that of i915-sriov-dkms',
}

/**
 * Why the driver of a physical function can make no virtual functions, and what to do; `undefined` where it may. Intel's
 * GPU drivers that can have a limit for them, `max_vfs`.
 */
export function sriovObstacle(machine: Reader, { address, driver }: PciDevice): string | undefined {
  if (driver === null)
    return `${address} has no driver, and only its driver makes virtual functions: load that first (modprobe), or take it back from where it is bound`
  if (isVfio(driver))
    return `${address} is on ${driver}, for a guest as a whole: what enable_sriov of vfio-pci makes opens only with the VF token of the guest that has the card. Give it back to the host first (bind-vfio --undo ${address}); a guest gets the card or virtual functions of it`
  const own: Record<string, string> = {
    nvidia: "NVIDIA's driver makes them for vGPUs with a program of its own: /usr/lib/nvidia/sriov-manage -e ADDRESS",
    amdgpu: 'amdgpu makes none on the host: MxGPU cards need the GIM driver there',
    gim: 'the GIM driver makes them by itself, as its own settings say (/etc/gim_config)',
    nouveau: 'nouveau makes none',
    ...(machine.exists(`/sys/module/${driver}/parameters/max_vfs`) ? {} : INTEL_WITHOUT),
  }
  return own[driver] === undefined ? undefined : `${address} is on ${driver}: ${own[driver]}`
}

/**
 * Returns an address of our own for a virtual function: without one its driver makes up another at every boot. It is made
 * of its card's MAC address and its number, and so stays. Locally administered, unicast.
 */
export function stableMac(mac: string, index: number): string {
  const hash = createHash('sha256').update(`vfio-scripts ${mac.toLowerCase()} ${index}`).digest('hex')
  return `02:${hash.slice(0, 10).match(/../g)?.join(':')}`
}

/** The names by which a file can mean a physical function. */
export interface FunctionNames {
  address: string
  driver: string | null
  interfaces: readonly string[]
  /** The MAC addresses of those interfaces; none of one that is no Ethernet (InfiniBand, whose functions have GUIDs). */
  macs: readonly string[]
}

/** Reads the names of a physical function that is a network card. */
export function functionNames(machine: Reader, { address, driver, path }: PciDevice): FunctionNames {
  const interfaces = machine.list(`${path}/net`) ?? []
  // All ports of a bond have one address; the bond knows their own.
  const macs = interfaces.flatMap(
    (name) =>
      ['bonding_slave/perm_hwaddr', 'address']
        .map((file) => machine.optionalText(`${path}/net/${name}/${file}`)?.trim())
        .find((mac) => mac !== undefined) ?? [],
  )
  const ethernet = macs.map((mac) => mac.toLowerCase()).filter((mac) => /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac))
  return { address, driver, interfaces, macs: ethernet }
}
