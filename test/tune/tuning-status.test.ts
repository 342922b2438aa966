import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readJournal } from '../../lib/change/journal.ts'
import { readBootWrites } from '../../lib/host/drop-ins.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { tuneHostStatus } from '../../lib/tune/tuning-status.ts'
import { expectRan, system, tune, write } from '../support/bind.ts'
import { loadMachine } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { hostWith } from '../support/root.ts'
import { runProgram } from '../support/run.ts'
import { kernelConfig, snapshotOf, writeIn } from '../support/system.ts'
import { host } from '../support/tune.ts'

// Is it in force? A file that says so, and an argument of this boot, are no proof: the kernel is asked.

const CPU = '/sys/devices/system/cpu'
const PAGES = '/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages'
const slice = (name: string): string => `/sys/fs/cgroup/${name}/cpuset.cpus`
const slices = (list: string): Record<string, string> =>
  Object.fromEntries(['system.slice', 'user.slice', 'init.scope'].map((name) => [slice(name), list]))

/** Of what is set up in `dir`, with this machine after the next boot. */
function statusOf(dir: string, machine: Record<string, string>): { state: string; problems: string[]; ok: string[] } {
  const files = openReader(dir)
  const real = { files, machine: hostWith(machine).files, running: true, kernels: [] }
  const { state, findings } = tuneHostStatus(real, undefined, readJournal(files), 'next')
  const texts = (wanted: string): string[] =>
    findings.filter((one) => one.state === wanted).map(({ summary, evidence }) => [summary, ...evidence].join(' | '))
  return { state, problems: texts('problem'), ok: texts('ok') }
}

describe('in force, or not', { concurrent: true }, () => {
  it.each<
    [
      string,
      args: string[],
      good: Record<string, string>,
      bad: Record<string, string>,
      says: RegExp,
      symbols?: Record<string, string>,
    ]
  >([
    [
      'governor',
      ['--governor', 'performance'],
      { '/proc/cmdline': 'cpufreq.default_governor=performance' },
      {
        [`${CPU}/cpufreq/policy0/scaling_governor`]: 'performance\n',
        [`${CPU}/cpufreq/policy1/scaling_governor`]: 'powersave\n',
      },
      /1 of 2 CPU policies have the governor powersave, not performance/,
    ],
    [
      'huge pages by arguments',
      ['--hugepages', '16G', '--page-size', '1G'],
      { '/proc/cmdline': 'hugepagesz=1G hugepages=16', [PAGES]: '16\n' },
      { [PAGES]: '3\n' },
      /^3 of 16 huge pages of 1 GiB are set aside/,
    ],
    [
      'huge pages on a node',
      ['--hugepages', '8G', '--node', '0'],
      {
        '/proc/cmdline': 'hugepagesz=2M hugepages=0:4096',
        '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '9000\n',
        '/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages': '4096\n',
      },
      { '/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages': '17\n' },
      /^17 of 4096 huge pages of 2 MiB on node 0 are set aside/,
    ],
    [
      'slices',
      ['--isolate', '3', '--slices'],
      slices('0,3-4,7\n'),
      { [slice('user.slice')]: '0-7\n' },
      /user\.slice runs on CPUs 0-7, not 0,3-4,7/,
    ],
    [
      'slices without the controller',
      ['--isolate', '3', '--slices'],
      slices('0,3-4,7\n'),
      { [slice('init.scope')]: '' },
      /init\.scope runs on CPUs \(any\), not 0,3-4,7/,
    ],
    [
      'isolated CPUs',
      ['--isolate', '4'],
      {
        '/proc/cmdline': 'isolcpus=managed_irq,domain,1-2,5-6 rcu_nocbs=1-2,5-6',
        [`${CPU}/isolated`]: '1-2,5-6\n',
      },
      { [`${CPU}/isolated`]: '\n' },
      /isolated has no CPU, not 1-2,5-6/,
    ],
    [
      'options of a module',
      ['--ignore-msrs'],
      {
        '/sys/module/kvm/parameters/ignore_msrs': 'Y\n',
        '/sys/module/kvm/parameters/report_ignored_msrs': 'N\n',
      },
      { '/sys/module/kvm/parameters/ignore_msrs': 'N\n' },
      /ignore_msrs is N, not 1/,
    ],
    [
      'a driver that is never loaded',
      ['--blacklist', 'radeon'],
      { '/proc/cmdline': 'module_blacklist=radeon', '/proc/modules': 'ext4 1 1 - Live 0x0\n' },
      { '/proc/modules': 'ext4 1 1 - Live 0x0\nradeon 1 1 - Live 0x0\n' },
      /^radeon is loaded/,
    ],
    [
      'interrupt remapping',
      ['--unsafe-interrupts', '--force', 'unsafe-interrupts'],
      {
        '/proc/cmdline': 'vfio_iommu_type1.allow_unsafe_interrupts=1',
        '/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts': 'Y',
      },
      { '/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts': 'N' },
      /allow_unsafe_interrupts is N, not 1/,
    ],
    [
      'a TAP device',
      ['--tap', 'tap0', '--user', 'ann'],
      { '/sys/class/net/tap0/tun_flags': '0x2', '/sys/class/net/lo/address': '' },
      { '/sys/class/net/tap0/tun_flags': '->/nowhere' },
      /tap0 is no TAP device now/,
    ],
    // No node of a test is a group's of the machine: the numbers tell.
    [
      'the nodes of a group',
      ['--vfio-group', 'kvm'],
      { '/dev/vfio/vfio': '' },
      { '/dev/vfio/14': '' },
      /\/dev\/vfio\/14 is not open to kvm \(group 0, mode 644\)/,
    ],
    [
      'the nodes of a group, with iommufd',
      ['--vfio-group', 'kvm'],
      { '/dev/vfio/vfio': '' },
      { '/dev/iommu': '', '/dev/vfio/devices/vfio0': '' },
      /\/dev\/vfio\/devices\/vfio0 is not open to kvm .*\n.*\/dev\/iommu is not open to kvm/,
      { VFIO_DEVICE_CDEV: 'y' },
    ],
  ])('%s', (_, args, good, bad, says, symbols = {}) => {
    const { kernel } = loadMachine(system.machine)
    const dir = host({ [`boot/config-${kernel}`]: kernelConfig(symbols) })
    expectRan(tune(dir, ...args, ...write), 0)
    expect(statusOf(dir, good)).toMatchObject({ state: 'in-force', problems: [] })
    const { state, problems } = statusOf(dir, { ...good, ...bad })
    expect(problems.join('\n')).toMatch(says)
    expect(state).toBe('drifted')
  })
})

/** What others say, where, and against what of ours. */
const LATER: [name: string, args: string[], file: string, text: string][] = [
  ['a later sysctl', ['--hugepages', '16G'], 'etc/sysctl.d/zzz-mine.conf', '# mine\nvm.nr_hugepages=3\n'],
  ['a sysctl of a package', ['--hugepages', '16G'], 'usr/lib/sysctl.d/zzz-x.conf', '\nvm/nr_hugepages = 3\n'],
  [
    'tmpfiles.d, which writes later still',
    ['--hugepages', '16G'],
    'etc/tmpfiles.d/a.conf',
    '\nw /proc/sys/vm/nr_hugepages - - - - 3\n',
  ],
  ['a later limit', ['--vfio-group', 'kvm'], 'etc/security/limits.d/zz-all.conf', '\n@kvm - memlock 64\n'],
  ['a limit of a member', ['--vfio-group', 'kvm'], 'etc/security/limits.conf', '\nann - memlock 64\n'],
  ['later options', ['--ignore-msrs'], 'etc/modprobe.d/zz-kvm.conf', '\noptions kvm ignore_msrs=0\n'],
  [
    'a later rule',
    ['--vfio-group', 'kvm'],
    'etc/udev/rules.d/99-zz.rules',
    '\nSUBSYSTEM=="vfio", OWNER="ann", GROUP="users"\n',
  ],
  [
    'a rule that is final',
    ['--vfio-group', 'kvm'],
    'usr/lib/udev/rules.d/50-x.rules',
    '\nSUBSYSTEM=="vfio|misc", MODE:="0600"\n',
  ],
  [
    'another rule for all disks',
    ['--disk', '/dev/disk/by-id/ata-X_1'],
    'etc/udev/rules.d/99-zz.rules',
    '\nSUBSYSTEM=="block", GROUP="disk"\n',
  ],
  [
    'other CPUs of a slice',
    ['--isolate', '3', '--slices'],
    'etc/systemd/system.control/system.slice.d/50-AllowedCPUs.conf',
    '[Slice]\nAllowedCPUs=0-7\n',
  ],
]

describe('a line of another file that wins is named', { concurrent: true }, () => {
  it.each(LATER)('%s', (_, args, file, text) => {
    const group = { 'etc/group': 'root:x:0:\nkvm:x:104:ann\n', 'etc/passwd': 'ann:x:1000:1000::/:/bin/sh\n' }
    const dir = host({ ...group, [file]: text })
    const before = snapshotOf(join(dir, 'etc'))
    const says = new RegExp(`/${file.replaceAll('.', '\\.')}:2: `)
    expectRan(tune(dir, ...args, '--apply'), 2, says)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    // One that comes when ours is there.
    const other = host(group)
    expectRan(tune(other, ...args, ...write), 0)
    expect(tune(other, '--status').stdout).not.toMatch(/problem/)
    writeIn(other, file, text)
    expectRan(tune(other, '--status'), 1, new RegExp(`drifted[\\s\\S]*is not in force\\n +${says.source}`))
  })

  it('what comes before, or is about something else, is not', () => {
    const dir = host({
      'etc/group': 'kvm:x:104:ann\n',
      'etc/passwd': 'ann:x:1000:1000::/:/bin/sh\n',
      'etc/sysctl.d/99-sysctl.conf': 'vm.swappiness=1\nvm.nr_hugepages_=1\n',
      // systemd reads it through a link only.
      'etc/sysctl.conf': 'vm.nr_hugepages=3\n',
      'etc/sysctl.d/zzz.conf': '→ /dev/null',
      'usr/lib/sysctl.d/zzz.conf': 'vm.nr_hugepages=3\n',
      'etc/security/limits.conf': '@kvm - memlock 64\nann - memlock unlimited\n',
      'etc/modprobe.d/a.conf': 'options kvm ignore_msrs=0\n',
      'etc/modprobe.d/zz.conf': 'options kvm halt_poll_ns=0\n',
      'etc/udev/rules.d/50-a.rules': 'SUBSYSTEM=="vfio", GROUP="users"\n',
      'etc/udev/rules.d/99-zz.rules':
        'SUBSYSTEM=="vfio", OWNER="ann"\nSUBSYSTEM=="block", KERNEL=="sdz", GROUP="users"\n',
      'usr/lib/systemd/system/system.slice.d/10-x.conf': '[Slice]\nCPUWeight=100\n',
    })
    const all = ['--hugepages', '16G', '--vfio-group', 'kvm', '--ignore-msrs', '--isolate', '3', '--slices']
    expectRan(tune(dir, ...all, '--disk', '/dev/disk/by-id/ata-X', ...write), 0)
    expect(tune(dir, '--status').stdout).not.toMatch(/problem/)
  })

  it('without systemd /etc/sysctl.conf is read last', () => {
    const dir = host({ 'etc/sysctl.conf': 'vm.nr_hugepages=3\n' })
    expectRan(tune(dir, '--hugepages', '16G'), 1)
    runProgram('rm', ['-r', join(dir, 'usr/lib/systemd')])
    expectRan(tune(dir, '--hugepages', '16G'), 2, /\/etc\/sysctl\.conf:1: vm\.nr_hugepages=3/)
  })

  needs('systemd-analyze').it('in the order in which systemd itself reads these folders', () => {
    const files: Record<string, string> = {
      'etc/sysctl.d/50-a.conf': 'vm.nr_hugepages=1\n',
      'run/sysctl.d/60-b.conf': 'vm.nr_hugepages=2\n',
      'usr/lib/sysctl.d/50-a.conf': 'vm.nr_hugepages=3\n',
      'usr/lib/sysctl.d/70-c.conf': 'vm.nr_hugepages=4\n',
      'usr/local/lib/sysctl.d/55-d.conf': 'vm.nr_hugepages=5\n',
      'etc/sysctl.d/80-e': 'vm.nr_hugepages=6\n',
      'etc/sysctl.d/65-f.conf': '→ /dev/null',
      'usr/lib/sysctl.d/65-f.conf': 'vm.nr_hugepages=7\n',
    }
    const { root } = hostWith({})
    for (const [path, text] of Object.entries(files)) writeIn(root, path, text)
    const { stdout } = runProgram('systemd-analyze', ['cat-config', `--root=${root}`, 'sysctl.d'])
    const read = stdout.match(/^vm\.nr_hugepages=\d/gm)
    expect(read?.length).toBe(4)
    expect(readBootWrites(openReader(root), true).map(({ text }) => text)).toEqual(read)
  })
})
