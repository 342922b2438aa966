import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { loadMachine, machineDir, machineNames, scratchDir, writeMachine } from '../support/machine.ts'
import { has, PROJECT, runProgram, runScript } from '../support/run.ts'

/** On a fake machine, and on nothing else: no name database of the host. */
function list(machine: string, ...args: string[]) {
  const dir = machineDir(machine)
  return runScript('list-iommu', ['--machine', dir, '--root', dir, ...args])
}

function addresses(machine: string, ...args: string[]): string[] {
  return list(machine, '--format', 'addresses', ...args)
    .stdout.split('\n')
    .slice(0, -1)
}

const golden = (name: string): string => `${PROJECT}test/golden/list-iommu/${name}`

describe('list-iommu', () => {
  it.each(machineNames())('%s: the whole table', async (name) => {
    const { stdout, stderr } = list(name)
    await expect(stdout + stderr).toMatchFileSnapshot(golden(`${name}.txt`))
  })

  it('the tree and the JSON of a whole machine', async () => {
    await expect(list('ivy-bridge-h77', '--format', 'tree').stdout).toMatchFileSnapshot(
      golden('ivy-bridge-h77.tree.txt'),
    )
    await expect(list('i9-14900k-vmd', '--json', '--card', '02:00.1').stdout).toMatchFileSnapshot(golden('card.json'))
  })

  it('the picture in the README', async () => {
    const file = golden('i9-14900k-vmd.svg')
    const svg = list('i9-14900k-vmd', '--format', 'svg').stdout
    await expect(svg).toMatchFileSnapshot(file)
    const copy = `${scratchDir('picture')}/tree.svg`
    writeFileSync(copy, svg)
    if (has('xmllint')) expect(runProgram('xmllint', ['--noout', copy])).toEqual({ code: 0, stdout: '', stderr: '' })
    for (const address of addresses('i9-14900k-vmd')) expect(svg).toContain(address)
  })

  it('on this very machine every PCI device is listed', () => {
    const folder = '/sys/bus/pci/devices'
    const ran = runScript('list-iommu', ['--format', 'addresses'])
    if (existsSync(folder)) expect(ran.stdout.split('\n').filter(Boolean).sort()).toEqual(readdirSync(folder).sort())
    else expect(ran.code).toBe(2)
  })

  it('groups come in numeric order, gaps and five-digit domains included', () => {
    const { groups } = JSON.parse(list('archwiki-reset', '--json').stdout)
    expect(groups.map((group: { id: number }) => group.id)).toEqual([0, 1, 2, 4, 5, 10, 13])
    expect(addresses('i9-14900k-vmd', 'group:5')).toEqual([
      '0000:00:0e.0',
      '10000:e0:06.0',
      '10000:e0:17.0',
      '10000:e1:00.0',
    ])
  })

  it('isolated means one card and bridges', () => {
    const { groups } = JSON.parse(list('i9-14900k-vmd', '--json').stdout)
    const isolated = groups
      .filter((group: { isolated: boolean }) => group.isolated)
      .map((group: { id: number }) => group.id)
    // 13 and 14 are the graphics cards; 5 mixes VMD, SATA and NVMe; 12 is the chipset with its ISA bridge.
    expect(isolated).toEqual(expect.arrayContaining([6, 13, 14, 15]))
    for (const id of [0, 1, 5, 12]) expect(isolated).not.toContain(id)
    const ivy = JSON.parse(list('ivy-bridge-h77', '--json').stdout)
    expect(ivy.groups.find((group: { id: number }) => group.id === 1).isolated).toBe(true)
  })

  describe('filters', () => {
    it.each([
      [['--gpu'], ['0000:01:00.0', '0000:02:00.0']],
      [['--gpu', '--driver', 'vfio-pci'], ['0000:02:00.0']],
      [
        ['--gpu', '--nvme'],
        ['0000:01:00.0', '0000:02:00.0', '10000:e1:00.0'],
      ],
      [
        ['--gpu', '--card', '--driver=vfio-pci'],
        ['0000:02:00.0', '0000:02:00.1'],
      ],
      [['--audio'], ['0000:00:1f.3', '0000:01:00.1', '0000:02:00.1']],
      [['--usb'], ['0000:00:14.0']],
      [
        ['--usb', '--with-group'],
        ['0000:00:14.0', '0000:00:14.2'],
      ],
      [['--net'], ['0000:00:1f.6']],
      [
        ['--class', '0300'],
        ['0000:01:00.0', '0000:02:00.0'],
      ],
      [['--class', '010802'], ['10000:e1:00.0']],
      [['--class', '010801'], []],
      [['--id', '10DE:1CB6'], ['0000:02:00.0']],
      [
        ['--id', '10de:1cb6', '--id', '10de:0fb9'],
        ['0000:02:00.0', '0000:02:00.1'],
      ],
      [
        ['--group', '14'],
        ['0000:02:00.0', '0000:02:00.1'],
      ],
      [
        ['group:14', '01:00.1'],
        ['0000:01:00.1', '0000:02:00.0', '0000:02:00.1'],
      ],
      [['10000:e1:00.0'], ['10000:e1:00.0']],
      [['10000:e1:00'], ['10000:e1:00.0']],
      [['e1:00.0'], []],
      [['01:00'], ['0000:01:00.0', '0000:01:00.1']],
      [['10de:1ff2'], ['0000:01:00.0']],
      [
        ['--driver', 'none', '--class', '0880'],
        ['0000:00:06.0', '0000:00:08.0', '0000:00:17.0'],
      ],
    ])('%j', (args, expected) => {
      const ran = list('i9-14900k-vmd', '--format', 'addresses', ...args)
      expect(ran.stdout.split('\n').slice(0, -1)).toEqual(expected)
      expect(ran.code).toBe(expected.length > 0 ? 0 : 1)
      if (expected.length === 0) expect(ran.stderr).toContain('nothing matches')
    })

    it('display controllers count as GPUs by class, whatever they are called', () => {
      const machine = loadMachine('i9-14900k-vmd')
      const [vga, second] = [machine.devices['0000:01:00.0'], machine.devices['0000:02:00.0']]
      if (vga === undefined || second === undefined) throw new Error('no cards')
      for (const id of ['030100', '030200', '038000']) {
        second.class = id
        const dir = scratchDir('class')
        writeMachine(machine, dir)
        const { stdout } = runScript('list-iommu', ['--machine', dir, '--gpu', '--format', 'addresses'])
        expect(stdout).toBe('0000:01:00.0\n0000:02:00.0\n')
      }
    })

    it('--format ids names each ID once', () => {
      const ids = list('twin-gpus', '--gpu', '--card', '--format', 'ids').stdout.split('\n').slice(0, -1)
      expect(new Set(ids).size).toBe(ids.length)
      expect(ids.length).toBeLessThan(addresses('twin-gpus', '--gpu', '--card').length)
    })
  })

  it('groups of which only the devices know are listed, and mediated devices are shown as such', () => {
    const dir = scratchDir('links')
    writeMachine(loadMachine('twin-gpus'), dir)
    const whole = JSON.parse(runScript('list-iommu', ['--machine', dir, '--json']).stdout)
    rmSync(`${dir}/sys/kernel/iommu_groups`, { recursive: true })
    const links = JSON.parse(runScript('list-iommu', ['--machine', dir, '--json']).stdout)
    const short = (json: typeof whole) =>
      json.groups.map((group: { id: number; devices: { address: string }[] }) => [
        group.id,
        group.devices.map((d) => d.address),
      ])
    expect(short(links)).toEqual(short(whole))
    const mediated = list('sriov-nic')
      .stdout.split('\n')
      .filter((line) => line.includes('Mediated device'))
    expect(mediated.length).toBeGreaterThan(0)
    expect(mediated[0]).toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/)
  })

  describe('without groups it lists the devices and says why', () => {
    it.each([
      ['vm-no-iommu', 'virtual-machine', /virtual machine .*QEMU.* intel-iommu/],
      ['firmware-off', 'firmware-off', /no DMAR table\. Switch on VT-d/],
      ['kernel-off', 'kernel-parameter', /intel_iommu=on is missing/],
    ])('%s: %s', (name, code, reason) => {
      const text = list(name)
      expect(text.code).toBe(1)
      expect(text.stdout).toMatch(reason)
      expect(text.stdout.split('\n').length).toBeGreaterThan(5)
      const { iommu, groups, ungrouped } = JSON.parse(list(name, '--json').stdout)
      expect(iommu).toMatchObject({ enabled: false, code })
      expect(groups).toEqual([])
      expect(ungrouped.length).toBeGreaterThan(3)
    })

    it('a tree whose firmware shows no tables: nobody knows why', () => {
      const dir = scratchDir('tables')
      writeMachine(loadMachine('firmware-off'), dir)
      rmSync(`${dir}/sys/firmware/acpi`, { recursive: true })
      mkdirSync(`${dir}/sys/firmware`, { recursive: true })
      const { iommu } = JSON.parse(runScript('list-iommu', ['--machine', dir, '--json']).stdout)
      expect(iommu).toMatchObject({ enabled: false, code: 'unknown' })
      expect(iommu.reason).toMatch(/no \/sys\/firmware\/acpi\/tables, as in a container/)
    })

    it.each([
      ['quiet intel_iommu=off', 'kernel-parameter', /intel_iommu=off switches the IOMMU off/],
      ['iommu=off', 'kernel-parameter', /iommu=off switches/],
      ['intel_iommu=on,sm_on', 'unknown', /kernel log/],
      ['intel_iommu=sm_on', 'kernel-parameter', /is missing/],
    ])('command line %s: %s', (cmdline, code, reason) => {
      const machine = loadMachine('kernel-off')
      machine.cmdline = cmdline
      const dir = scratchDir('cmdline')
      writeMachine(machine, dir)
      const { iommu } = JSON.parse(runScript('list-iommu', ['--machine', dir, '--json']).stdout)
      expect(iommu.code).toBe(code)
      expect(iommu.reason).toMatch(reason)
    })

    it('a kernel without the driver, and one that has it on by default', () => {
      const machine = loadMachine('kernel-off')
      const state = (config: string) => {
        const dir = scratchDir('config')
        writeMachine(machine, dir)
        mkdirSync(`${dir}/proc`, { recursive: true })
        writeFileSync(`${dir}/proc/config.gz`, gzipSync(config))
        return JSON.parse(runScript('list-iommu', ['--machine', dir, '--root', dir, '--json']).stdout).iommu.code
      }
      expect(state('# CONFIG_INTEL_IOMMU is not set\n')).toBe('kernel-config')
      expect(state('CONFIG_INTEL_IOMMU=y\nCONFIG_INTEL_IOMMU_DEFAULT_ON=y\n')).toBe('unknown')
    })
  })

  it('--usb-ports: bus, controller, group, and what is plugged in where', async () => {
    await expect(list('b365-gtx1650', '--usb-ports').stdout).toMatchFileSnapshot(golden('usb-ports.txt'))
    const { usb } = JSON.parse(list('b365-gtx1650', '--usb-ports', '--json').stdout)
    expect(usb.map((bus: { bus: number; controller: string }) => [bus.bus, bus.controller])).toEqual([
      [1, '0000:00:14.0'],
      [2, '0000:00:14.0'],
    ])
    expect(list('b365-gtx1650', '--usb-ports', '--gpu').stdout).toBe('No USB buses.\n')
    expect(list('b365-gtx1650', '--usb-ports', '--format', 'ids')).toEqual({
      code: 2,
      stdout: '',
      stderr: 'list-iommu: --usb-ports and --format: choose one\n',
    })
  })
})
