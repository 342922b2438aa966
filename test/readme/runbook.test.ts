import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { etcOf, expectRan, modprobe, system } from '../support/bind.ts'
import { cpuTree, smt } from '../support/cpus.ts'
import { newFolder } from '../support/expect.ts'
import { sampleOf } from '../support/needs.ts'
import { oneDomain, readmeSystem } from '../support/readme.ts'
import { PROJECT, type Ran, runProgram, runScript } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

// scripts/setup.md, run by zx as its first lines say. What libvirt does with the guest is seen in the lab.

const PAGE = `${PROJECT}scripts/setup.md`
const guest = '--gpu 02:00 --name vm --guest linux --memory 4G --hugepages 2M --vcpus 4 --isolate'.split(' ')

function setup(...args: string[]): Ran {
  return runProgram(process.execPath, [`${PROJECT}node_modules/zx/build/cli.js`, PAGE, ...args])
}

const readyHost = (): string => oneDomain(readmeSystem())

const WRONG: [args: string[], says: RegExp][] = [
  [['--gpu', '02:00', '--name', 'vm', '--aply'], /^setup: Unknown option '--aply'/],
  [['--gpu', '02:00', '--name', 'vm', 'more'], /^setup: Unexpected argument 'more'/],
  [['--gpu', '02:00'], /^setup: --name: the guest's name is missing/],
  [['--name', 'vm'], /^setup: which device\?/],
  [['--gpu', '02:00', '--name', 'vm', '--step', 'bind'], /^setup: --step: must be one of check-host, /],
  [['--gpu', '02:00', '--name', 'vm', '--hugepages', '1G'], /^setup: --hugepages: give --memory, too/],
  [['--gpu', '02:00', '--name', 'vm', '--force', 'bridge'], /^setup: --force bridge: no script has such a guard/],
]

const CARDS: [card: string, memory: string, ends: number, says: RegExp][] = [
  ['1f:00', '4G', 1, /^list-iommu: 1f:00: no such device.*^setup: these devices are not in this machine/ms],
  ['02:00', '400G', 2, /^setup: this guest cannot be: .*memory/],
  ['01:00', '4G', 2, /^setup: nothing was written: bind-vfio: refused \(\S+\)/],
]

describe('the runbook', () => {
  it('shows the plan of every step and writes nothing', () => {
    const dir = readyHost()
    const before = etcOf(dir)
    const ran = setup(...guest, '--root', dir)
    expectRan(ran, 1, /this is the plan, and nothing was written; --apply does it/)
    for (const step of ['check-host', 'list-iommu', 'check-reset', 'packages', 'tune-host', 'bind-vfio'])
      expect(ran.stdout).toMatch(new RegExp(`^── \\d of 8: ${step}$`, 'm'))
    expect(ran.stdout).toMatch(/vm.nr_hugepages = 2048/)
    expect(ran.stdout).toMatch(/isolcpus=/)
    expect(ran.stdout).toMatch(/options vfio-pci ids=10de:1cb6,10de:0fb9/)
    expect(etcOf(dir)).toBe(before)
  })

  it('overrides a guard where a script has it', () => {
    const force = ['boot-vga', 'host-memory', 'no-such-file'].flatMap((name) => ['--force', name])
    const ran = setup('--gpu', '01:00', ...guest.slice(2), ...force, '--root', readyHost())
    expect(ran.stderr).not.toMatch(/no such guard/)
    expect(ran.stdout).toMatch(/^\$ tune-host .*--force=host-memory$/m)
    expect(ran.stdout).toMatch(/^\$ bind-vfio 01:00 .*--force=boot-vga$/m)
  })

  it('does what the scripts alone do, stops for the reboot, changes nothing when called again, and takes it back', () => {
    const dir = readyHost()
    const alone = newFolder()
    cpSync(dir, alone, { recursive: true, verbatimSymlinks: true })
    const before = etcOf(dir)
    const here = ['--no-commands', '--apply', '--root']
    expectRan(setup(...guest, ...here, dir), 1, /now reboot, then call this again in the same way$/m)
    const tune = ['--hugepages', '4G', '--isolate', '4', '--near', '02:00']
    for (const args of [['--packages'], tune]) expectRan(runScript('tune-host', [...args, ...here, alone]), 0)
    expectRan(runScript('bind-vfio', ['02:00', ...here, alone]), 0)
    const applied = etcOf(dir)
    expect(applied).toBe(etcOf(alone))
    expect(applied).not.toBe(before)

    const again = setup(...guest, ...here, dir)
    expectRan(again, 1, /now reboot/)
    // The commands for packages were only printed: they are again.
    expect(again.stdout.match(/^Nothing to do/gm)).toHaveLength(2)
    expect(etcOf(dir)).toBe(applied)

    expectRan(setup('--name', 'vm', '--undo', '--root', dir), 1, /Nothing was written/)
    expect(etcOf(dir)).toBe(applied)
    expectRan(setup('--name', 'vm', '--undo', ...here, dir), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it('stops where a binding is not what was promised', () => {
    const dir = readyHost()
    const here = ['--no-commands', '--apply', '--root', dir]
    expectRan(setup(...guest, ...here), 1, /now reboot/)
    writeFileSync(join(dir, modprobe), '')
    const ran = setup(...guest, ...here)
    expectRan(ran, 1, /the binding is not what was promised \(drifted\)/)
    expect(readFileSync(join(dir, modprobe), 'utf8')).toBe('')
  })

  it('switches an IOMMU on that only lacks a kernel argument, and does the rest after that boot', () => {
    const dir = systemDir({ machine: 'kernel-off', iommuByDefault: false })
    const args = ['--pci', '02:00', '--name', 'vm', '--guest', 'linux', '--memory', '1G', '--root', dir]
    expectRan(setup(...args), 1, /The IOMMU is off, so there are no groups yet: reboot after this.*this is the plan/s)
  })

  it('on NixOS writes the two modules into the folder that it is told', () => {
    const dir = oneDomain(systemDir({ ...system, family: 'nixos' }))
    const args = ['--gpu', '02:00', '--name', 'vm', '--guest', 'linux', '--memory', '4G', '--hugepages', '2M']
    const cpus = join(cpuTree(smt(16)), '.')
    cpSync(cpus, dir, { recursive: true })
    expectRan(setup(...args, '--root', dir, '--apply', '--output', '/etc/nixos'), 1, /now reboot/)
    const text = (name: string): string => readFileSync(join(dir, 'etc/nixos', name), 'utf8')
    expect(text('vfio.nix')).toMatch(/vfio-pci\.ids=10de:1cb6,10de:0fb9/)
    expect(text('vfio-host.nix')).toMatch(/nr_hugepages" = 2048/)
    expect(text('vfio-host.nix')).toMatch(/libvirtd\.enable = true/)
  })

  it('runs one step alone', () => {
    const ran = setup(...guest, '--step', 'gen-domain', '--root', readyHost())
    expectRan(ran, 0)
    expect(ran.stdout).toMatch(/^── 7 of 8: gen-domain\n<domain type='kvm'[^>]*>\n {2}<name>vm<\/name>/)
    const check = setup('--step', 'check-host', '--root', readyHost())
    expectRan(check, 0, /^── 1 of 8: check-host\n\$ check-host --root=\S+\ncheck-host: no problem/)
    expect(check.stdout.match(/^──/gm)).toHaveLength(1)
  })

  it('says what there is with --help', () => {
    expectRan(setup('--help'), 0, /^# npx zx scripts\/setup\.md --gpu .*^--undo /ms)
  })

  it.each(sampleOf(WRONG, 2))('%j ends before anything is looked at', (args, says) => {
    const { code, stdout, stderr } = setup(...args)
    expect(stderr).toMatch(says)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  it.each(sampleOf(CARDS, 1))(
    'a card at %s with %s of memory ends before anything is written',
    (card, memory, ends, says) => {
      const dir = readyHost()
      const before = etcOf(dir)
      const args = ['--gpu', card, '--name', 'vm', '--guest', 'linux', '--memory', memory]
      const { code, stderr } = setup(...args, '--apply', '--no-commands', '--root', dir)
      expect(stderr).toMatch(says)
      expect(code).toBe(ends)
      expect(etcOf(dir)).toBe(before)
    },
  )

  it('leaves nothing beside itself', () => {
    expect(readdirSync(`${PROJECT}scripts`).filter((name) => /^setup.*\.mjs$/.test(name))).toEqual([])
  })

  it('has zx run its js blocks and nothing else', () => {
    const text = readFileSync(PAGE, 'utf8').replace(/^```(js|text|console)\n[\s\S]*?^```$/gm, '')
    expect(text).not.toMatch(/```/)
    expect(text).not.toMatch(/^(\t| {2})/m)
  })
})
