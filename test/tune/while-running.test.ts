// What a guest gets only while it runs: the plan, what is written, and taken back.
import { describe, expect, it } from 'vitest'
import { openReader } from '../../lib/host/sysroot.ts'
import type { Host } from '../../lib/system/system.ts'
import { whileRunning } from '../../lib/tune/features/while-running.ts'
import { expectRan, tune } from '../support/bind.ts'
import { desktopDir, domain, handOver, hook, uuid, write } from '../support/hand-over.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'

const file = 'etc/vfio-scripts/while-running.d/win11'
const program = 'etc/vfio-scripts/hand-over-tuning'
const pins = "<cputune><vcpupin vcpu='0' cpuset='2'/><vcpupin vcpu='1' cpuset='3'/></cputune>"
const pinned = (name = 'win11', id = uuid): string => domain(name, '', id).replace('<devices>', `${pins}<devices>`)
const host = (files: Record<string, string | null> = {}): string =>
  desktopDir('twin-gpus', {
    'etc/libvirt/qemu/win11.xml': pinned(),
    'sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors': 'performance powersave\n',
    'proc/meminfo': 'MemTotal:       67108864 kB\nMemAvailable:   60000000 kB\n',
    ...files,
  })
const all = ['--while-running', 'win11', '--isolate', '--governor', 'performance', '--hugepages', '16G']
const etc = (dir: string): string => snapshotOf(`${dir}/etc`)

describe('--while-running', () => {
  it('plans one file for the guest, the program, and the hook of libvirt; nothing for the boot', () => {
    const dir = host()
    const before = etc(dir)
    const ran = tune(dir, ...all)
    expectRan(ran, 1, /isolate yes.*governor performance.*pages 2048 8192 -/s)
    expect(ran.stdout).not.toMatch(/isolcpus|default_governor|vm\.nr_hugepages|Reboot/)
    expect(ran.stdout).toMatch(/from the next start of win11 on/)
    expect(etc(dir)).toBe(before)
    expectRan(tune(dir, ...all, ...write), 0)
    expect(textOf(dir, file)).toContain(`uuid ${uuid}\nisolate yes\ngovernor performance\npages 2048 8192 -\n`)
    expectRan(tune(dir, ...all), 0, /Nothing to do/)
    expectRan(tune(dir, '--status'), 1, /while-running\.d\/win11 says what it should/)
    expectRan(tune(dir, '--undo', ...write), 0)
    expect(etc(dir)).toBe(before)
  })

  it('another value takes its place, also with 1G pages on a node, as far as they can be had', () => {
    const dir = host({ 'sys/devices/system/node/node0/meminfo': 'Node 0 MemTotal:       67108864 kB\n' })
    expectRan(tune(dir, ...all, ...write), 0)
    const pages = ['--hugepages', '8G', '--page-size', '1G', '--node', '0', '--best-effort']
    expectRan(tune(dir, '--while-running', 'win11', ...pages, ...write), 0)
    expect(textOf(dir, file)).toContain('pages 1048576 8 0\nbest-effort yes\n')
    expect(textOf(dir, file)).not.toContain('isolate')
  })

  it('the undo of one keeps what hand-over needs, and the other way round', () => {
    const dir = host()
    expectRan(tune(dir, ...all, ...write), 0)
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    expectRan(tune(dir, '--undo', 'while-running', ...write), 0)
    expect(textOf(dir, file)).toBeNull()
    expect(textOf(dir, program)).not.toBeNull()
    expectRan(handOver(dir, '--status'), 0, /in-force/)
    expectRan(tune(dir, ...all, ...write), 0)
    expectRan(handOver(dir, '--undo', ...write), 0)
    expect(textOf(dir, hook)).not.toBeNull()
    expectRan(tune(dir, '--undo', ...write), 0)
    expect(textOf(dir, hook)).toBeNull()
  })

  it('the undo of what an older version wrote leaves the files that the other has in their new form', () => {
    const dir = host()
    expectRan(tune(dir, ...all, ...write), 0)
    // As if the version of then had another program.
    for (const path of [program, 'var/lib/vfio-scripts/0001/entry.json'])
      writeIn(dir, path, (textOf(dir, path) ?? '').replaceAll('Governor and energy preference', 'Clocks'))
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    const now = textOf(dir, program)
    expect(now).toContain('Governor and energy preference')
    expectRan(tune(dir, '--undo', ...write), 0)
    expect(textOf(dir, program)).toBe(now)
    expectRan(handOver(dir, '--status'), 0, /in-force/)
  })

  it('two guests each have a file', () => {
    const dir = host({ 'etc/libvirt/qemu/linux.xml': pinned('linux', 'c0ffee00-0000-4000-8000-000000000002') })
    expectRan(tune(dir, ...all, ...write), 0)
    expectRan(tune(dir, '--while-running', 'linux', '--isolate', ...write), 0)
    expect(textOf(dir, file)).toContain('governor performance')
    expect(textOf(dir, 'etc/vfio-scripts/while-running.d/linux')).toContain('isolate yes')
  })
})

describe('is refused, with nothing written', () => {
  it.each<[string, string[], RegExp, Record<string, string | null>?]>([
    ['an unknown guest', ['--while-running', 'win10', '--isolate'], /win10: libvirt has no guest of this name/],
    ['nothing to give', ['--while-running', 'win11'], /say what it gets: --isolate, --governor NAME, --hugepages SIZE/],
    [
      'a number of CPUs',
      ['--while-running', 'win11', '--isolate', '4'],
      /--isolate takes no number with --while-running/,
    ],
    ['--isolate without a number or a guest', ['--isolate'], /--isolate needs a number.*--while-running GUEST/],
    [
      'a governor that is not there',
      ['--while-running', 'win11', '--governor', 'fast'],
      /this machine has performance, powersave/,
    ],
    [
      'a guest without pinning',
      ['--while-running', 'win11', '--isolate'],
      /pins no virtual CPU/,
      { 'etc/libvirt/qemu/win11.xml': domain('win11') },
    ],
    [
      'no libvirt',
      ['--while-running', 'win11', '--isolate'],
      /hook of libvirt, which is not installed/,
      { 'etc/libvirt/qemu/win11.xml': null },
    ],
    ['no systemd', ['--while-running', 'win11', '--isolate'], /systemd/, { 'usr/lib/systemd/systemd': null }],
    [
      '--best-effort without pages',
      ['--while-running', 'win11', '--isolate', '--best-effort'],
      /--best-effort goes with --hugepages/,
    ],
  ])('%s', (_, args, says, files = {}) => {
    const dir = host(files)
    const before = etc(dir)
    expectRan(tune(dir, ...args, '--apply'), 2, says)
    expect(etc(dir)).toBe(before)
  })
})

describe('--status', () => {
  const running = 'cpus 2,3\nisolated 2,3\ngovernor performance\npages 2048 64 -\n'
  const wants = 'run/vfio-scripts/while-running/wants/win11'
  const slices = (list: string): Record<string, string> =>
    Object.fromEntries(
      ['init.scope', 'system.slice', 'user.slice'].map((one) => [
        `sys/fs/cgroup/${one}/cpuset.cpus.effective`,
        `${list}\n`,
      ]),
    )
  const governors = (name: string): Record<string, string> =>
    Object.fromEntries([2, 3].map((cpu) => [`sys/devices/system/cpu/cpu${cpu}/cpufreq/scaling_governor`, `${name}\n`]))
  const pages = (count: number): Record<string, string> => ({
    'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': `${count}\n`,
  })

  it.each<[string, Record<string, string>, RegExp]>([
    ['in force', { ...slices('0-1,4-7'), ...governors('performance'), ...pages(64) }, /win11 has CPUs 2-3 to itself/],
    [
      'a slice on its CPUs',
      { ...slices('0-7'), ...governors('performance'), ...pages(64) },
      /has CPUs 2-3 not to itself.*system\.slice\/cpuset\.cpus\.effective: 0-7/s,
    ],
    ['another governor', { ...slices('0-1'), ...governors('powersave'), ...pages(64) }, /scaling_governor: powersave/],
    [
      'fewer pages',
      { ...slices('0-1'), ...governors('performance'), ...pages(8) },
      /asked for 64 huge pages of 2 MiB.*nr_hugepages: 8/s,
    ],
  ])('of a guest that runs: %s', (what, machine, says) => {
    const dir = host({ [wants]: running, ...machine })
    const reader = openReader(dir)
    const setting = { kind: 'file', path: `/${file}`, content: '', reason: '', owners: ['while-running'] } as const
    const findings = whileRunning.inForce?.({ machine: reader } as Host, [setting]) ?? []
    const text = findings.map(({ state, summary, evidence }) => `${state} ${summary}: ${evidence.join(', ')}`)
    expect(text.join('\n')).toMatch(says)
    expect(findings.every(({ state }) => state === 'ok')).toBe(what === 'in force')
  })
})
