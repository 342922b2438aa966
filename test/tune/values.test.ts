import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, system, tune, updateGrub, write } from '../support/bind.ts'
import { loadMachine } from '../support/machine.ts'
import { evaluateModule, HAS_NIX } from '../support/nix.ts'
import { runProgram } from '../support/run.ts'
import { type System, snapshotOf, textOf, writeIn } from '../support/system.ts'
import { host } from '../support/tune.ts'

// One feature has one value: a new one takes the place of ours, and undo still returns everything.

const SYSCTL = 'etc/sysctl.d/zz-vfio-scripts.conf'
const GRUB = 'etc/default/grub.d/zz-vfio-scripts.cfg'
const RULES = 'etc/udev/rules.d/99-vfio-scripts.rules'
const SLICE = 'etc/systemd/system/system.slice.d/vfio-scripts.conf'
const NIX = 'etc/nixos/vfio-host.nix'

/** What a file of ours says, without its head. */
const said = (dir: string, path: string): string | undefined => textOf(dir, path)?.replace(/^(#.*\n|\[\w+\]\n)*/, '')

describe('a new value takes the place of ours', { concurrent: true }, () => {
  const pages = (count: number): string => `vm.nr_hugepages = ${count}\n`
  const grub = (line: string): string => `GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT ${line}"\n`

  it.each<[string, [args: string[], file: string, says: string | undefined][], Partial<System>?]>([
    [
      'huge pages, and back again',
      [
        [['--hugepages', '16G'], SYSCTL, pages(8192)],
        [['--hugepages', '24G'], SYSCTL, pages(12288)],
        [['--hugepages', '16G'], SYSCTL, pages(8192)],
      ],
    ],
    [
      'huge pages of another size, and back again',
      [
        [['--hugepages', '16G'], SYSCTL, pages(8192)],
        [['--hugepages', '16G', '--page-size', '1G'], SYSCTL, undefined],
        [['--hugepages', '24G', '--page-size', '1G'], GRUB, grub('hugepagesz=1G hugepages=24')],
        [['--hugepages', '8G', '--node', '0'], GRUB, grub('hugepagesz=2M hugepages=0:4096')],
        [['--hugepages', '16G'], GRUB, undefined],
      ],
    ],
    [
      'the memory that a group may lock, and the group',
      [
        [['--vfio-group', 'kvm'], 'etc/security/limits.d/vfio-scripts.conf', '@kvm - memlock unlimited\n'],
        [
          ['--vfio-group', 'kvm', '--memory', '16G'],
          'etc/security/limits.d/vfio-scripts.conf',
          '@kvm - memlock 17825792\n',
        ],
        [['--vfio-group', 'root'], RULES, 'SUBSYSTEM=="vfio", GROUP="root", MODE="0660"\n'],
      ],
    ],
    [
      'slices for 2, for 4, then by kernel arguments',
      [
        [['--isolate', '2', '--slices'], SLICE, 'AllowedCPUs=0,2-4,6-7\n'],
        [['--isolate', '4', '--slices'], SLICE, 'AllowedCPUs=0,3-4,7\n'],
        [['--isolate', '2'], SLICE, undefined],
        [['--isolate', '4'], GRUB, grub('isolcpus=managed_irq,domain,1-2,5-6 rcu_nocbs=1-2,5-6')],
      ],
    ],
    [
      'a governor',
      [
        [['--governor', 'performance', '--threadirqs'], GRUB, grub('cpufreq.default_governor=performance threadirqs')],
        [['--governor', 'schedutil'], GRUB, grub('threadirqs cpufreq.default_governor=schedutil')],
      ],
    ],
    [
      'the group of a disk, not that of another one',
      [
        [['--disk', '/dev/disk/by-id/ata-X_1'], RULES, `${diskRule('ata-X_1', 'kvm')}\n`],
        [
          ['--disk', '/dev/disk/by-id/ata-X_10'],
          RULES,
          `${diskRule('ata-X_1', 'kvm')}\n${diskRule('ata-X_10', 'kvm')}\n`,
        ],
        [
          ['--disk', '/dev/disk/by-id/ata-X_1', '--disk-group', 'root'],
          RULES,
          `${diskRule('ata-X_10', 'kvm')}\n${diskRule('ata-X_1', 'root')}\n`,
        ],
      ],
    ],
    [
      'a module of NixOS',
      [
        [['--hugepages', '16G', '--governor', 'performance'], NIX, undefined],
        [['--hugepages', '24G'], NIX, undefined],
        [['--hugepages', '16G', '--page-size', '1G', '--governor', 'schedutil'], NIX, undefined],
        [['--hugepages', '24G', '--page-size', '1G'], NIX, undefined],
      ],
      { family: 'nixos' },
    ],
  ])('%s', (_, steps, more = {}) => {
    const nixos = more.family === 'nixos'
    const dir = host({}, more)
    const before = snapshotOf(join(dir, 'etc'))
    for (const [index, [args, file, says]] of steps.entries()) {
      const apply = nixos ? ['--output', `/${NIX}`, '--apply'] : write
      const ran = tune(dir, ...args, ...apply)
      expectRan(ran, 0)
      if (index > 0 && !args.includes('/dev/disk/by-id/ata-X_10'))
        expect(ran.stdout).toContain('takes the place of the one')
      if (!nixos) expect(said(dir, file)).toBe(says)
    }
    updateGrub(dir)
    expectRan(tune(dir, ...(steps.at(-1)?.[0] ?? [])), 0, /Nothing to do/)
    expect(tune(dir, '--status').stdout).not.toMatch(/was changed|is gone/)
    if (nixos) {
      expect(textOf(dir, NIX)?.match(/hugepages=\d+|"vm\.nr.*|default|schedutil|performance/g)).toEqual([
        'hugepages=24',
        'schedutil',
      ])
      if (HAS_NIX)
        expect(evaluateModule(textOf(dir, NIX) ?? '')).toEqual({
          boot: { kernelParams: ['hugepagesz=1G', 'hugepages=24'] },
          powerManagement: { cpuFreqGovernor: 'schedutil' },
        })
    }
    expectRan(tune(dir, '--undo', '--apply', ...(nixos ? [] : ['--no-commands'])), 0, /Taken back/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, '--undo'), 0, /nothing to take back/)
  })

  it('undone by the undo.sh of the last run, the value before it is ours again', () => {
    const dir = host()
    tune(dir, '--hugepages', '16G', ...write)
    tune(dir, '--hugepages', '24G', ...write)
    runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0002/undo.sh'), dir])
    expect(said(dir, SYSCTL)).toBe(pages(8192))
    expectRan(tune(dir, '--hugepages', '16G'), 0, /Nothing to do/)
    expectRan(tune(dir, '--undo', ...write), 0)
    expect(textOf(dir, SYSCTL)).toBeNull()
  })

  it('what else the same run set up stays ours', () => {
    const dir = host()
    const before = snapshotOf(join(dir, 'etc'))
    const [one, two] = ['/dev/disk/by-id/ata-A', '/dev/disk/by-id/ata-B']
    tune(dir, '--hugepages', '16G', '--disk', one, ...write)
    tune(dir, '--disk', two, ...write)
    // It ends claims of the first run for huge pages, and of the second for its disk.
    tune(dir, '--hugepages', '24G', '--disk', two, '--disk-group', 'root', ...write)
    expect(tune(dir, '--status').stdout).toContain('disk')
    expectRan(tune(dir, '--undo', 'hugepages', ...write), 0)
    expect(said(dir, RULES)).toBe(`${diskRule('ata-A', 'kvm')}\n${diskRule('ata-B', 'root')}\n`)
    tune(dir, '--undo', ...write)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('where a program keeps the arguments, it is told of both', () => {
    const release = loadMachine(system.machine).kernel
    const entry = `boot/loader/entries/0123456789abcdef0123456789abcdef-${release}.conf`
    const dir = host({}, { family: 'fedora' })
    const commands = (...args: string[]): string[] =>
      JSON.parse(tune(dir, ...args, '--json').stdout).changes.flatMap(
        ({ command }: { command?: string[] }) => command?.join(' ') ?? [],
      )
    tune(dir, '--hugepages', '16G', '--page-size', '1G', ...write)
    const text = textOf(dir, entry) ?? ''
    writeIn(dir, entry, text.replace('rhgb quiet', 'rhgb quiet hugepagesz=1G hugepages=16'))
    const grubby = `grubby --update-kernel=/boot/vmlinuz-${release}`
    expect(commands('--hugepages', '24G', '--page-size', '1G')).toEqual([
      `${grubby} --remove-args=hugepages=16 --args=hugepages=24`,
    ])
    expect(commands('--hugepages', '24G')).toEqual([`${grubby} --remove-args=hugepagesz=1G hugepages=16`])
  })

  it('is refused for a value that waits for a confirmation', () => {
    const dir = host()
    expectRan(tune(dir, '--hugepages', '16G', '--confirm-within', '10m', ...write), 0)
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, '--hugepages', '24G', ...write), 2, /hugepages: its value waits for a confirmation/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, '--confirm', '--no-commands'), 0)
    expectRan(tune(dir, '--hugepages', '24G', ...write), 0)
  })
})

function diskRule(name: string, group: string): string {
  return `SUBSYSTEM=="block", ENV{DEVLINKS}=="*/by-id/${name}|*/by-id/${name} *", GROUP="${group}", MODE="0660"`
}
describe('the sum of all huge pages decides', { concurrent: true }, () => {
  const large = ['--hugepages', '40G', '--page-size', '1G']
  const sysctl = 'etc/sysctl.d/10-database.conf'

  it.each<[string, string[], Record<string, string>, RegExp]>([
    [
      'with those of sysctl.d',
      large,
      { [sysctl]: 'vm.nr_hugepages=10240\n' },
      /host-memory.*would keep 4 GiB of 64 GiB.*10-database\.conf:1: vm\.nr_hugepages=10240.*ask for 37\.6 GiB or less/s,
    ],
    ['written with slashes', large, { [sysctl]: '-vm/nr_hugepages = 10240\n' }, /would keep 4 GiB of 64 GiB/],
    [
      'with those of tmpfiles.d',
      ['--hugepages', '40G'],
      {
        'usr/lib/tmpfiles.d/huge.conf': 'w /sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages - - - - 20\n',
      },
      /would keep 4 GiB of 64 GiB.*tmpfiles\.d\/huge\.conf:1/s,
    ],
    [
      'on one node, with its share of those on all',
      ['--hugepages', '20G', '--page-size', '1G', '--node', '0'],
      { [sysctl]: 'vm.nr_hugepages=10240\n' },
      /would keep 0 MiB of 32 GiB/,
    ],
    [
      'where the kernel is told what a page is unless said',
      ['--hugepages', '40G'],
      {
        'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="default_hugepagesz=1G"\n',
        [sysctl]: 'vm.nr_hugepages=20\n',
      },
      /would keep 4 GiB of 64 GiB/,
    ],
    [
      'pages of this size that others set aside by another way',
      ['--hugepages', '8G', '--node', '0'],
      { [sysctl]: 'vm.nr_hugepages=512\n' },
      /10-database\.conf:1: vm\.nr_hugepages=512: pages of 2 MiB are set aside already/,
    ],
  ])('%s', (_, args, files, says) => {
    const dir = host(files)
    const before = snapshotOf(dir)
    expectRan(tune(dir, ...args, '--apply'), 2, says)
    expect(snapshotOf(dir)).toBe(before)
  })

  it('ours of before do not count: they go', () => {
    const dir = host()
    expectRan(tune(dir, '--hugepages', '40G', ...write), 0)
    expectRan(tune(dir, ...large, ...write), 0, /takes the place of/)
    expect(textOf(dir, SYSCTL)).toBeNull()
    expectRan(tune(dir, '--hugepages', '44G', ...write), 0)
  })

  it('a sysctl counts pages of the usual size: where that is another, arguments do it', () => {
    const grub = { 'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="default_hugepagesz=1G"\n' }
    expectRan(tune(host(grub), '--hugepages', '16G'), 1, /hugepagesz=2M hugepages=8192/)
    const meminfo = 'MemTotal:       67108864 kB\nHugepagesize:    1048576 kB\n'
    expectRan(tune(host({ 'proc/meminfo': meminfo }), '--hugepages', '16G'), 1, /hugepagesz=2M hugepages=8192/)
  })

  it('the place of others’ pages of the same size is taken with a word', () => {
    const dir = host({ [sysctl]: 'vm.nr_hugepages=512\n' })
    expectRan(tune(dir, '--hugepages', '16G'), 1, /10-database\.conf:1: .*takes its place; ask for the sum/)
  })
})
