import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { etcOf, expectRan, modprobe, system, updateGrub } from '../support/bind.ts'
import { cpuTree, smt } from '../support/cpus.ts'
import { newFolder } from '../support/expect.ts'
import { needs, sampleOf } from '../support/needs.ts'
import { oneDomain, readmeSystem } from '../support/readme.ts'
import { PROJECT, type Ran, runScript } from '../support/run.ts'
import { CLI, callsIn, copyCounted, copyPage, PAGE, setupAt } from '../support/runbook.ts'
import { systemDir } from '../support/system.ts'

// scripts/setup.md, run by zx as its first lines say. What libvirt does with the guest is seen in the lab.

const guest = '--gpu 02:00 --name vm --guest linux --memory 4G --hugepages 2M --vcpus 4 --isolate'.split(' ')

/** Runs the page, several at a time, with ZX_ variables of somebody else. It leaves nothing beside itself. */
const setup = (...args: string[]): Promise<Ran> => setupIn({}, ...args)

const setupIn = (more: NodeJS.ProcessEnv, ...args: string[]): Promise<Ran> => setupAt(copyPage(), more, ...args)

const ready = oneDomain(readmeSystem())

/** A host of its own: the machine of the README. */
function readyHost(): string {
  const dir = newFolder()
  cpSync(ready, dir, { recursive: true, verbatimSymlinks: true })
  return dir
}

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
  ['1f:00', '4G', 2, /^list-iommu: 1f:00: no such device.*^setup: bind-vfio: 1f:00: no such device/ms],
  ['02:00', '400G', 2, /^setup: this guest cannot be: .*memory/],
  ['01:00', '4G', 2, /^setup: bind-vfio: refused \(boot-vga\)/m],
]

describe.concurrent('the runbook', () => {
  it('shows the plan of every step and writes nothing', async () => {
    const dir = readyHost()
    const before = etcOf(dir)
    const ran = await setup(...guest, '--root', dir)
    expectRan(ran, 1, /this is the plan, and nothing was written; --apply does it/)
    const steps = [...ran.stdout.matchAll(/^── (\d) of 8: (\S+)$/gm)].map(([, number, name]) => `${number} ${name}`)
    expect(steps.join(', ')).toBe(
      '1 check-host, 2 list-iommu, 3 check-reset, 4 packages, 5 tune-host, 6 bind-vfio, 7 gen-domain, 8 start',
    )
    expect(ran.stdout).toMatch(/vm.nr_hugepages = 2048/)
    expect(ran.stdout).toMatch(/isolcpus=/)
    expect(ran.stdout).toMatch(/options vfio-pci ids=10de:1cb6,10de:0fb9/)
    expect(ran.stdout).toMatch(/^ {2}<name>vm<\/name>$/m)
    expect(ran.stdout).toMatch(/^\$ virsh start vm$/m)
    expect(etcOf(dir)).toBe(before)
  })

  it('asks each script once a step, and starts no program for it', async () => {
    const log = join(newFolder(), 'calls')
    const ran = await setupAt(copyCounted(log), {}, ...guest, '--root', readyHost())
    expectRan(ran, 1, /this is the plan/)
    expect(callsIn(log)).toEqual([
      'gen-domain.mjs --help',
      expect.stringMatching(/^check-host.mjs --root=/),
      ...['list-iommu.mjs 02:00', 'check-reset.mjs 02:00', 'bind-vfio.mjs --status'],
      ...['tune-host.mjs --packages', 'tune-host.mjs --libvirt', 'tune-host.mjs --hugepages=4G'],
      ...['bind-vfio.mjs 02:00', 'gen-domain.mjs --name=vm'],
    ])
  })

  it('shows the plan of every step where one is refused, and says which', async () => {
    const ran = await setup('--gpu', '01:00', ...guest.slice(2), '--root', readyHost())
    expectRan(ran, 2, /^setup: nothing was written, and --apply would stop: see bind-vfio and gen-domain above$/m)
    expect(ran.stdout.match(/^── \d of 8/gm)).toHaveLength(8)
    expect(ran.stderr).toMatch(/^bind-vfio: refused \(boot-vga\)/m)
  })

  it('shows the plan of every step to who may not read what was done before', async () => {
    const page = copyPage()
    const path = join(dirname(page), 'bind-vfio.mjs')
    const error = { code: 'denied', message: '/var/lib/vfio-scripts: cannot be read (EACCES): run as root' }
    unlinkSync(path)
    writeFileSync(
      path,
      `const { argv, answered, end } = globalThis[Symbol.for('vfio-scripts/caller')]
if (argv.includes('--status')) {
  answered(${JSON.stringify({ schema: 'vfio-scripts/error/1', error })})
  end(2)
} else await import('${PROJECT}scripts/bind-vfio.mjs?' + argv)
`,
    )
    const ran = await setupAt(page, {}, ...guest, '--root', readyHost())
    expectRan(ran, 1, /^setup: bind-vfio: \/var\/lib\/vfio-scripts: cannot be read \(EACCES\): run as root; so/m)
    expect(ran.stdout.match(/^── \d of 8/gm)).toHaveLength(8)
    expect(ran.stdout).toMatch(/options vfio-pci ids=10de:1cb6,10de:0fb9/)
  })

  it('overrides a guard where a script has it', async () => {
    const force = ['boot-vga', 'host-memory', 'no-such-file'].flatMap((name) => ['--force', name])
    const ran = await setup('--gpu', '01:00', ...guest.slice(2), ...force, '--root', readyHost())
    expect(ran.stderr).not.toMatch(/no such guard/)
    expect(ran.stdout).toMatch(/^\$ tune-host (?!.*boot-vga).*--force=host-memory/m)
    expect(ran.stdout).toMatch(/^\$ bind-vfio 01:00 (?!.*host-memory).*--force=boot-vga/m)
  })

  it('does what the scripts alone do, stops for the reboot and for what was changed since, and takes it back', async () => {
    const dir = readyHost()
    const alone = newFolder()
    cpSync(dir, alone, { recursive: true, verbatimSymlinks: true })
    const before = etcOf(dir)
    const here = ['--no-commands', '--apply', '--root']
    expectRan(await setup(...guest, ...here, dir), 1, /now reboot, then call this again in the same way$/m)
    const tune = ['--hugepages', '4G', '--isolate', '4', '--near', '02:00']
    for (const args of [['--packages'], tune]) expectRan(runScript('tune-host', [...args, ...here, alone]), 0)
    expectRan(runScript('bind-vfio', ['02:00', ...here, alone]), 0)
    const applied = etcOf(dir)
    expect(applied).toBe(etcOf(alone))
    expect(applied).not.toBe(before)

    updateGrub(dir)
    const again = await setup(...guest, ...here, dir)
    expectRan(again, 1, /now reboot/)
    // The commands for packages were only printed: they are again.
    expect(again.stdout.match(/^Nothing to do/gm)).toHaveLength(2)
    expect(etcOf(dir)).toBe(applied)

    const written = readFileSync(join(dir, modprobe))
    writeFileSync(join(dir, modprobe), '')
    const drifted = await setup(...guest, '--step', 'bind-vfio', ...here, dir)
    expectRan(drifted, 1, /the binding is not what was promised \(drifted\)/)
    expect(readFileSync(join(dir, modprobe), 'utf8')).toBe('')
    writeFileSync(join(dir, modprobe), written)

    expectRan(await setup('--name', 'vm', '--undo', '--root', dir), 1, /Nothing was written/)
    expect(etcOf(dir)).toBe(applied)
    expectRan(await setup('--name', 'vm', '--undo', ...here, dir), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it('switches an IOMMU on that only lacks a kernel argument, and does the rest after that boot', async () => {
    const dir = systemDir({ machine: 'kernel-off', iommuByDefault: false })
    const args = ['--pci', '02:00', '--name', 'vm', '--guest', 'linux', '--memory', '1G', '--root', dir]
    expectRan(
      await setup(...args),
      1,
      /The IOMMU is off, so there are no groups yet: reboot after this.*this is the plan/s,
    )
  })

  it('on NixOS writes the two modules into the folder that it is told', async () => {
    const dir = oneDomain(systemDir({ ...system, family: 'nixos' }))
    const args = ['--gpu', '02:00', '--name', 'vm', '--guest', 'linux', '--memory', '4G', '--hugepages', '2M']
    const cpus = join(cpuTree(smt(16)), '.')
    cpSync(cpus, dir, { recursive: true })
    expectRan(await setup(...args, '--root', dir, '--apply', '--output', '/etc/nixos'), 1, /now reboot/)
    const text = (name: string): string => readFileSync(join(dir, 'etc/nixos', name), 'utf8')
    expect(text('vfio.nix')).toMatch(/vfio-pci\.ids=10de:1cb6,10de:0fb9/)
    expect(text('vfio-host.nix')).toMatch(/nr_hugepages" = 2048/)
    expect(text('vfio-host.nix')).toMatch(/libvirtd\.enable = true/)
  })

  it('runs one step alone', async () => {
    const ran = await setup(...guest, '--step', 'gen-domain', '--root', readyHost())
    expectRan(ran, 0)
    expect(ran.stdout).toMatch(
      /^── 7 of 8: gen-domain\n\$ gen-domain .*\n<domain type='kvm'[^>]*>\n {2}<name>vm<\/name>/,
    )
    const check = await setup('--step', 'check-host', '--root', readyHost())
    expectRan(check, 0, /^── 1 of 8: check-host\n\$ check-host --root=\S+\ncheck-host: no problem/)
    expect(check.stdout.match(/^──/gm)).toHaveLength(1)
  })

  needs('script').it('asks on a terminal for what is missing, and does nothing without an answer', () => {
    const command = `${process.execPath} ${CLI} ${copyPage()} --step gen-domain --guest linux --pci 02:00 --root ${ready}`
    const asked = spawnSync('script', ['-qec', command, '/dev/null'], { input: 'vm7\n', encoding: 'utf8' })
    expect(asked.stdout).toMatch(/--name .*<name>vm7<\/name>/s)
    const left = spawnSync('script', ['-qec', command, '/dev/null'], { input: '\x04', encoding: 'utf8' })
    expect(left.stdout).toMatch(/setup: --name: the guest's name is missing/)
    expect([asked.status, left.status]).toEqual([0, 2])
  })

  it('says what there is with --help', async () => {
    expectRan(await setup('--help'), 0, /^# npx zx scripts\/setup\.md --gpu .*^--undo /ms)
  })

  it.each(sampleOf(WRONG, 2))('%j ends before anything is looked at', async (args, says) => {
    const { code, stdout, stderr } = await setup(...args)
    expect(stderr).toMatch(says)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  it.each(sampleOf(CARDS, 1))(
    'a card at %s with %s of memory ends before anything is written',
    async (card, memory, ends, says) => {
      const dir = readyHost()
      const before = etcOf(dir)
      const args = ['--gpu', card, '--name', 'vm', '--guest', 'linux', '--memory', memory]
      const { code, stderr } = await setup(...args, '--apply', '--no-commands', '--root', dir)
      expect(stderr).toMatch(says)
      expect(code).toBe(ends)
      expect(etcOf(dir)).toBe(before)
    },
  )

  it('has zx run its js blocks and nothing else', async () => {
    const text = readFileSync(PAGE, 'utf8').replace(/^```(js|text|console)\n[\s\S]*?^```$/gm, '')
    expect(text).not.toMatch(/```/)
    expect(text).not.toMatch(/^(\t| {2})/m)
  })
})
