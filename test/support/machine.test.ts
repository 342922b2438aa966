import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { generateMachine, loadMachine, machineDir, machineNames, scratchDir, writeMachine } from './machine.ts'
import { needs } from './needs.ts'
import { has } from './run.ts'

/** What the real lspci says about a tree; its one complaint, that it finds no kernel modules, is left out. */
function lspci(tree: string, ...args: string[]): { lines: string[]; complaints: string } {
  const path = ['-A', 'linux-sysfs', '-O', `sysfs.path=${tree}/sys/bus/pci`, '-i', `${tree}/usr/share/misc/pci.ids`]
  const { stdout, stderr, status } = spawnSync('lspci', [...path, ...args], { encoding: 'utf8', maxBuffer: 1 << 28 })
  expect(status).toBe(0)
  return { lines: stdout.trimEnd().split('\n'), complaints: stderr.replace(/^lspci: Unable to load libkmod.*\n/, '') }
}

/** Every symbolic link below a folder (a recursive readdir would follow them). */
function linksBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isSymbolicLink()) return [path]
    return entry.isDirectory() ? linksBelow(path) : []
  })
}

describe.each(machineNames())('%s', (name) => {
  const machine = loadMachine(name)
  const addresses = Object.keys(machine.devices).sort()

  test('every device is reachable both ways, with its group and driver', () => {
    const tree = machineDir(name)
    expect(readdirSync(`${tree}/sys/bus/pci/devices`).sort()).toEqual(addresses)
    for (const [address, device] of Object.entries(machine.devices)) {
      const folder = realpathSync(`${tree}/sys/bus/pci/devices/${address}`)
      expect(folder.startsWith(`${tree}/sys/devices/pci`)).toBe(true)
      expect(realpathSync(`${folder}/subsystem`)).toBe(`${tree}/sys/bus/pci`)
      expect(readFileSync(`${folder}/uevent`, 'utf8')).toContain(`PCI_SLOT_NAME=${address}\n`)
      const group = existsSync(`${folder}/iommu_group`)
        ? Number(readlinkSync(`${folder}/iommu_group`).split('/').pop())
        : undefined
      expect(group).toBe(device.group)
      if (group !== undefined) {
        expect(realpathSync(`${tree}/sys/kernel/iommu_groups/${group}/devices/${address}`)).toBe(folder)
      }
      if (device.driver !== undefined) {
        expect(realpathSync(`${folder}/driver`)).toBe(`${tree}/sys/bus/pci/drivers/${device.driver}`)
      }
    }
  })

  test('no link dangles or leaves the tree', () => {
    const tree = machineDir(name)
    for (const path of linksBelow(tree)) {
      expect(readlinkSync(path).startsWith('/')).toBe(false)
      expect(realpathSync(path).startsWith(`${tree}/`)).toBe(true)
    }
  })

  needs('lspci').it('the real lspci reads it without complaint', () => {
    const tree = machineDir(name)
    const { lines, complaints } = lspci(tree, '-D', '-nn')
    expect(complaints).toBe('')
    expect(lines.map((line) => line.slice(0, line.indexOf(' '))).sort()).toEqual(addresses)
    for (const line of lines) expect(line).toContain(`[${machine.devices[line.split(' ')[0] ?? '']?.id}]`)
    const verbose = lspci(tree, '-D', '-vv')
    expect(verbose.complaints).toBe('')
    const text = verbose.lines.join('\n')
    expect(text).not.toMatch(/unknown header|<chain|!!!|access denied|#[0-9a-f]{2}$/im)
    const drivers = Object.values(machine.devices).filter(({ driver }) => driver !== undefined)
    expect(text.match(/Kernel driver in use: /g)?.length).toBe(drivers.length)
  })
})

needs('lspci').it('capabilities are what the data file says', () => {
  const card = lspci(machineDir('i9-14900k-vmd'), '-vv', '-s', '0000:02:00.0').lines.join('\n')
  expect(card).toContain('MSI: Enable-')
  expect(card).toContain('Status: D3 NoSoftRst+')
  const nvme = lspci(machineDir('i9-14900k-vmd'), '-vv', '-s', '10000:e1:00.0').lines.join('\n')
  expect(nvme).toContain('MSI-X: Enable+')
  expect(nvme).toContain('FLReset+')
  const tree = lspci(machineDir('x570-navi10'), '-tn').lines.join('\n')
  expect(tree).toContain('03.1-[09-0b]----00.0-[0a-0b]----00.0-[0b]--')
})

test('a virtual function has no IDs in config space, as on real hardware', () => {
  const folder = `${machineDir('sriov-nic')}/sys/bus/pci/devices/0000:3b:02.1`
  expect(readFileSync(`${folder}/config`).readUInt32LE(0)).toBe(0xffffffff)
  expect(readFileSync(`${folder}/device`, 'utf8')).toBe('0x154c\n')
  expect(readlinkSync(`${folder}/physfn`)).toBe('../0000:3b:00.0')
  expect(readlinkSync(`${folder}/physfn/virtfn1`)).toBe('../0000:3b:02.1')
})

test('the domain of Intel VMD lives below its controller', () => {
  const link = readlinkSync(`${machineDir('i9-14900k-vmd')}/sys/bus/pci/devices/10000:e1:00.0`)
  expect(link).toBe('../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0')
})

test.each([1, 32, 512])('a generated machine has exactly %d devices', (count) => {
  const machine = generateMachine(count)
  expect(Object.keys(machine.devices).length).toBe(count)
  const tree = scratchDir(`generated-${count}`)
  writeMachine(machine, tree)
  expect(readdirSync(`${tree}/sys/bus/pci/devices`).length).toBe(count)
  if (has('lspci')) expect(lspci(tree, '-nn').lines.length).toBe(count)
})
