// A fake machine as files: /sys and /proc as the kernel shows them, modules.alias, pci.ids.
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Machine } from '../machine.ts'
import { kernelAtLeast, writePciDevice, writeVirtualFunctions } from './pci.ts'
import { type Placed, placeDevices } from './place.ts'
import { makeTree, type Tree } from './tree.ts'
import { writeUsb } from './usb.ts'

/** Writes the machine below `dir`, which may exist already. */
export function writeMachine(machine: Machine, dir: string): void {
  const tree = makeTree(dir)
  const placed = placeDevices(machine)
  for (const folder of ['sys/bus/pci/devices', 'sys/bus/pci/drivers', 'sys/bus/usb/devices', 'sys/class/iommu']) {
    tree.mkdir(folder)
  }
  tree.mkdir('sys/kernel/iommu_groups')
  for (const one of placed.values()) writePciDevice(tree, machine, one)
  writeVirtualFunctions(tree, placed)
  const unit = writeIommuUnit(tree, machine, placed)
  for (const one of placed.values()) {
    if (one.device.group === undefined) continue
    joinGroup(tree, machine, one.device.group, one.address, one.path)
    if (unit === undefined) continue
    tree.link(`${one.path}/iommu`, unit)
    tree.link(`${unit}/devices/${one.address}`, one.path)
  }
  writeMdevs(tree, machine, placed)
  writeUsb(tree, machine, placed)
  writeSystem(tree, machine)
  tree.mkdir('usr/share/misc')
  copyFileSync(join(process.cwd(), 'test/machines/pci.ids'), join(dir, 'usr/share/misc/pci.ids'))
  for (const [path, text] of Object.entries(machine.files ?? {})) tree.file(path, text)
  for (const [path, text] of Object.entries(machine.links ?? {})) tree.rawLink(path, text)
}

/** /sys/class/iommu: `dmar0` (virtual) or `ivhd0` (below the IOMMU's own PCI device). */
function writeIommuUnit(tree: Tree, machine: Machine, placed: Map<string, Placed>): string | undefined {
  if (machine.iommu === undefined) return undefined
  let path = 'sys/devices/virtual/iommu/dmar0'
  if (machine.iommu === 'intel') {
    tree.file(`${path}/intel-iommu/version`, '1:0\n')
    tree.file(`${path}/intel-iommu/cap`, 'd2008c40660462\n')
  } else {
    const owner = [...placed.values()].find((one) => one.device.class.startsWith('0806'))
    if (owner === undefined) throw new Error('an AMD machine needs its IOMMU, class 0806')
    path = `${owner.path}/iommu/ivhd0`
    tree.file(`${path}/amd-iommu/features`, '58f77ef22294a5a:0\n')
    tree.file(`${path}/amd-iommu/cap`, '40\n')
    tree.link(`${path}/device`, owner.path)
  }
  tree.file(`${path}/uevent`, '')
  tree.mkdir(`${path}/devices`)
  tree.link(`${path}/subsystem`, 'sys/class/iommu')
  tree.link(`sys/class/iommu/${path.slice(path.lastIndexOf('/') + 1)}`, path)
  return path
}

function joinGroup(tree: Tree, machine: Machine, group: number, name: string, path: string): void {
  const folder = `sys/kernel/iommu_groups/${group}`
  tree.link(`${folder}/devices/${name}`, path)
  tree.link(`${path}/iommu_group`, folder)
  const type = machine.groupTypes?.[group] ?? machine.groupType
  if (type !== undefined) tree.file(`${folder}/type`, `${type}\n`)
  const title = machine.groupNames?.[group]
  if (title !== undefined) tree.file(`${folder}/name`, `${title}\n`)
  if (!kernelAtLeast(machine, 4, 11)) return
  const regions = ['0x00000000fee00000 0x00000000feefffff msi', ...(machine.reserved?.[group] ?? [])]
  tree.file(`${folder}/reserved_regions`, regions.map((line) => `${line}\n`).join(''))
}

/** Mediated devices: a UUID folder below the PCI device, a bus of their own. */
function writeMdevs(tree: Tree, machine: Machine, placed: Map<string, Placed>): void {
  for (const [uuid, mdev] of Object.entries(machine.mdevs ?? {})) {
    const parent = placed.get(mdev.under)
    if (parent === undefined) throw new Error(`${uuid}: no device ${mdev.under} to sit under`)
    const path = `${parent.path}/${uuid}`
    const type = `${parent.path}/mdev_supported_types/${mdev.type}`
    tree.file(`${type}/name`, `${mdev.name ?? mdev.type}\n`)
    tree.file(`${type}/device_api`, 'vfio-pci\n')
    tree.file(`${type}/available_instances`, '0\n')
    tree.link(`${type}/devices/${uuid}`, path)
    tree.file(`${path}/uevent`, 'DRIVER=nvidia-vgpu-vfio\n')
    tree.link(`${path}/subsystem`, 'sys/bus/mdev')
    tree.link(`${path}/mdev_type`, type)
    tree.link(`${path}/driver`, 'sys/bus/mdev/drivers/nvidia-vgpu-vfio')
    tree.link(`sys/bus/mdev/drivers/nvidia-vgpu-vfio/${uuid}`, path)
    tree.link(`sys/bus/mdev/devices/${uuid}`, path)
    tree.link(`sys/class/mdev_bus/${mdev.under}`, parent.path)
    if (mdev.group !== undefined) joinGroup(tree, machine, mdev.group, uuid, path)
  }
}

/** What is not PCI: firmware tables, DMI, processor, command line, kernel, modules. */
function writeSystem(tree: Tree, machine: Machine): void {
  tree.mkdir('sys/firmware/acpi/tables')
  for (const name of machine.acpi) tree.file(`sys/firmware/acpi/tables/${name}`, acpiTable(name), 0o400)
  for (const [name, text] of Object.entries(machine.dmi)) tree.file(`sys/devices/virtual/dmi/id/${name}`, `${text}\n`)
  tree.mkdir('sys/devices/virtual/dmi/id')
  tree.link('sys/class/dmi/id', 'sys/devices/virtual/dmi/id')
  const { log = ['[    9.000000] random: crng init done'] } = machine
  if (log !== null) tree.file('var/log/dmesg', log.map((line) => `${line}\n`).join(''))
  tree.file('proc/cmdline', `${machine.cmdline}\n`)
  tree.file('proc/cpuinfo', cpuinfo(machine))
  tree.file('proc/sys/kernel/osrelease', `${machine.kernel}\n`)
  const aliases = Object.entries(machine.modules ?? {}).flatMap(([module, patterns]) =>
    patterns.map((pattern) => `alias ${pattern} ${module}\n`),
  )
  const head = '# Aliases extracted from modules themselves.\n'
  tree.file(`lib/modules/${machine.kernel}/modules.alias`, head + aliases.join(''))
}

/** A table's 36-byte header, its length and checksum right. */
function acpiTable(name: string): Buffer {
  const table = Buffer.alloc(48)
  table.write(name.slice(0, 4), 0, 'latin1')
  table.writeUInt32LE(table.length, 4)
  table[8] = 1
  table.write('EXAMPLBOARD    ', 10, 'latin1')
  table[9] = (256 - (table.reduce((sum, byte) => sum + byte, 0) % 256)) % 256
  return table
}

function cpuinfo({ cpu }: Machine): string {
  const blocks: string[] = []
  for (let number = 0; number < (cpu.threads ?? 4); number++) {
    blocks.push(`processor\t: ${number}
vendor_id\t: ${cpu.vendor}
model name\t: ${cpu.model}
flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic ${cpu.flags.join(' ')}
`)
  }
  return `${blocks.join('\n')}\n`
}
