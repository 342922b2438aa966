// One PCI device's folder, as drivers/pci/pci-sysfs.c shows it.
import type { Machine } from '../machine.ts'
import { barOf, configSpace, pair } from './config.ts'
import { hex, type Placed } from './place.ts'
import type { Tree } from './tree.ts'

const upper = (value: number, digits: number): string => hex(value, digits).toUpperCase()

/** `pci:v000010DEd00001CB6sv0000103Csd00001264bc03sc00i00` */
export function modaliasOf(one: Placed): string {
  const [vendor, device] = pair(one.device.id)
  const [subVendor, subDevice] = pair(one.device.subsystem ?? '0000:0000')
  const part = (at: number): string => one.device.class.slice(at, at + 2).toUpperCase()
  const ids = `v${upper(vendor, 8)}d${upper(device, 8)}sv${upper(subVendor, 8)}sd${upper(subDevice, 8)}`
  return `pci:${ids}bc${part(0)}sc${part(2)}i${part(4)}`
}

export function writePciDevice(tree: Tree, machine: Machine, one: Placed): void {
  const { path, device, address } = one
  const { driver } = device
  const [vendor, id] = pair(device.id)
  const [subVendor, subDevice] = pair(device.subsystem ?? '0000:0000')
  const put = (name: string, text: string, mode?: number): void => tree.file(`${path}/${name}`, text, mode)
  const number = (value: number): string => `0x${hex(value, 4)}\n`

  put(
    'uevent',
    `${driver === undefined ? '' : `DRIVER=${driver}\n`}PCI_CLASS=${upper(Number.parseInt(device.class, 16), 4)}
PCI_ID=${upper(vendor, 4)}:${upper(id, 4)}
PCI_SUBSYS_ID=${upper(subVendor, 4)}:${upper(subDevice, 4)}
PCI_SLOT_NAME=${address}
MODALIAS=${modaliasOf(one)}
`,
  )
  put('vendor', number(vendor))
  put('device', number(id))
  put('subsystem_vendor', number(subVendor))
  put('subsystem_device', number(subDevice))
  put('class', `0x${device.class}\n`)
  put('revision', `0x${device.revision ?? '00'}\n`)
  put('modalias', `${modaliasOf(one)}\n`)
  put('numa_node', `${device.numa ?? -1}\n`)
  put('enable', `${driver === undefined ? 0 : 1}\n`)
  put('remove', '', 0o200)
  put('d3cold_allowed', `${(device.d3cold ?? one.pcie) ? 1 : 0}\n`)
  put('driver_override', '(null)\n')
  put('irq', `${driver === undefined || device.physfn !== undefined ? 0 : 24 + (one.index % 200)}\n`)
  put('resource', resourceOf(one))
  tree.file(`${path}/config`, configSpace(one).subarray(0, machine.configBytes ?? 256))
  if (device.class.startsWith('0300')) put('boot_vga', `${device.bootVga === true ? 1 : 0}\n`)
  if (kernelAtLeast(machine, 5, 11)) put('power_state', `${device.powerState ?? 'D0'}\n`)
  if (device.reset !== undefined) put('reset', '', 0o200)
  if (typeof device.reset === 'string') put('reset_method', device.reset === '' ? '' : `${device.reset}\n`)
  if (one.bridge && one.pcie) tree.mkdir(`${path}/${address}:pcie001`)
  for (const [name, text] of Object.entries(device.files ?? {})) put(name, text)

  tree.link(`${path}/subsystem`, 'sys/bus/pci')
  tree.link(`sys/bus/pci/devices/${address}`, path)
  if (driver !== undefined) {
    tree.link(`${path}/driver`, `sys/bus/pci/drivers/${driver}`)
    tree.link(`sys/bus/pci/drivers/${driver}/${address}`, path)
  }
}

/** SR-IOV: `physfn` of each virtual function, `virtfnN` and the counts of the physical one. */
export function writeVirtualFunctions(tree: Tree, placed: Map<string, Placed>): void {
  const functions = new Map<string, Placed[]>()
  for (const one of placed.values()) {
    const { physfn, totalVfs } = one.device
    if (totalVfs !== undefined && !functions.has(one.address)) functions.set(one.address, [])
    if (physfn !== undefined) functions.set(physfn, [...(functions.get(physfn) ?? []), one])
  }
  for (const [address, virtual] of functions) {
    const physical = placed.get(address)
    if (physical === undefined) throw new Error(`no physical function ${address}`)
    tree.file(`${physical.path}/sriov_totalvfs`, `${physical.device.totalVfs ?? virtual.length}\n`)
    tree.file(`${physical.path}/sriov_numvfs`, `${virtual.length}\n`)
    for (const [index, one] of virtual.entries()) {
      tree.link(`${physical.path}/virtfn${index}`, one.path)
      tree.link(`${one.path}/physfn`, physical.path)
    }
  }
}

/** start, end and flags of each region: BAR 0 of an endpoint, nothing else. */
function resourceOf(one: Placed): string {
  const none = `0x${'0'.repeat(16)} 0x${'0'.repeat(16)} 0x${'0'.repeat(16)}\n`
  if (one.bridge) return none.repeat(17)
  const { start, end } = barOf(one)
  return `0x${hex(start, 16)} 0x${hex(end, 16)} 0x${hex(0x40200, 16)}\n${none.repeat(12)}`
}

export function kernelAtLeast(machine: Machine, major: number, minor: number): boolean {
  const [, first = '0', second = '0'] = /^(\d+)\.(\d+)/.exec(machine.kernel) ?? []
  return Number(first) > major || (Number(first) === major && Number(second) >= minor)
}
