import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, system } from './bind.ts'
import { loadMachine } from './machine.ts'
import { has, type Ran, runProgram, runScript } from './run.ts'
import { kernelConfig, snapshotOf, systemDir, textOf } from './system.ts'

const tune = (dir: string, ...args: string[]): Ran => runScript('tune-host', ['--root', dir, ...args])
const write = ['--apply', '--no-commands']

/** A Debian host with 64 GiB, huge pages of both sizes and a group kvm. */
function host(files: Readonly<Record<string, string>> = {}): string {
  const dir = systemDir({
    ...system,
    files: {
      'etc/group': 'root:x:0:\nkvm:x:104:\n',
      'proc/meminfo': 'MemTotal:       67108864 kB\nMemFree:        60000000 kB\n',
      'usr/lib/systemd/systemd': '',
      'etc/systemd/system/multi-user.target.wants/systemd-networkd.service': '',
      'sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors': 'performance schedutil\n',
      'sys/devices/system/node/node0/meminfo': 'Node 0 MemTotal:       33554432 kB\n',
      ...files,
    },
  })
  // Eight CPUs, four cores of two threads.
  for (let cpu = 0; cpu < 8; cpu++) {
    const topology = join(dir, `sys/devices/system/cpu/cpu${cpu}/topology`)
    mkdirSync(topology, { recursive: true })
    writeFileSync(join(topology, 'thread_siblings_list'), `${cpu % 4},${(cpu % 4) + 4}\n`)
    writeFileSync(join(topology, 'core_id'), `${cpu % 4}\n`)
    writeFileSync(join(topology, 'physical_package_id'), '0\n')
  }
  for (const list of ['online', 'present']) writeFileSync(join(dir, `sys/devices/system/cpu/${list}`), '0-7\n')
  for (const size of [2048, 1048576]) {
    const file = join(dir, `sys/kernel/mm/hugepages/hugepages-${size}kB/nr_hugepages`)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, '0\n')
  }
  return dir
}

const GRUB = 'etc/default/grub.d/zz-vfio-scripts.cfg'

/** Each feature: what is asked for, the file it ends up in, and what that says. */
const FEATURES: [name: string, args: string[], file: string, says: string][] = [
  ['hugepages', ['--hugepages', '16G'], 'etc/sysctl.d/zz-vfio-scripts.conf', 'vm.nr_hugepages = 8192'],
  ['hugepages of 1 GiB', ['--hugepages', '16G', '--page-size', '1G'], GRUB, ' hugepagesz=1G hugepages=16"'],
  ['hugepages on a node', ['--hugepages', '8G', '--node', '0'], GRUB, ' hugepagesz=2M hugepages=0:4096"'],
  ['isolate', ['--isolate', '4'], GRUB, ' isolcpus=managed_irq,domain,1-2,5-6 rcu_nocbs=1-2,5-6"'],
  [
    'isolate by slices',
    ['--isolate', '3', '--slices'],
    'etc/systemd/system/init.scope.d/vfio-scripts.conf',
    '[Scope]\nAllowedCPUs=0,3-4,7\n',
  ],
  ['governor', ['--governor', 'performance'], GRUB, ' cpufreq.default_governor=performance"'],
  ['threadirqs', ['--threadirqs'], GRUB, ' threadirqs"'],
  [
    'ignore-msrs',
    ['--ignore-msrs'],
    'etc/modprobe.d/vfio-scripts-kvm.conf',
    'options kvm ignore_msrs=1 report_ignored_msrs=0',
  ],
  [
    'vfio-group',
    ['--vfio-group', 'kvm'],
    'etc/udev/rules.d/99-vfio-scripts.rules',
    'SUBSYSTEM=="vfio", GROUP="kvm", MODE="0660"',
  ],
  [
    'its limit',
    ['--vfio-group', 'kvm', '--memory', '16G'],
    'etc/security/limits.d/vfio-scripts.conf',
    '@kvm - memlock 17825792',
  ],
  [
    'disk',
    ['--disk', '/dev/disk/by-id/ata-X_1'],
    'etc/udev/rules.d/99-vfio-scripts.rules',
    'ENV{DEVLINKS}=="*/by-id/ata-X_1|*/by-id/ata-X_1 *", GROUP="kvm"',
  ],
  [
    'tap',
    ['--tap', 'tap0', '--user', 'ann'],
    'etc/systemd/network/50-vfio-scripts-tap0.netdev',
    'Name=tap0\nKind=tap\n\n[Tap]\nUser=ann\n',
  ],
  [
    'libvirt-network',
    ['--libvirt-network', 'br0'],
    'etc/vfio-scripts/network-br0.xml',
    "<network>\n  <name>br0</name>\n  <forward mode='bridge'/>\n  <bridge name='br0'/>\n</network>\n",
  ],
  ['blacklist', ['--blacklist', 'nouveau'], GRUB, ' module_blacklist=nouveau"'],
  ['two drivers', ['--blacklist', 'nouveau', '--blacklist', 'nvidiafb'], GRUB, ' module_blacklist=nouveau,nvidiafb"'],
  ['text-mode', ['--text-mode'], GRUB, ' systemd.unit=multi-user.target"'],
  [
    'unsafe-interrupts',
    ['--unsafe-interrupts', '--force', 'unsafe-interrupts'],
    GRUB,
    ' vfio_iommu_type1.allow_unsafe_interrupts=1"',
  ],
  ['acs-override', ['--acs-override', '--force', 'acs-override'], GRUB, ' pcie_acs_override=downstream,multifunction"'],
]

describe('each feature', { concurrent: true }, () => {
  it.each(FEATURES)('%s: planned, applied once, looked at, taken back byte for byte', (_, args, file, says) => {
    const dir = host()
    const before = snapshotOf(join(dir, 'etc'))
    const plan = tune(dir, ...args)
    expectRan(plan, 1, /Nothing was written/)
    expect(plan.stdout).toContain(`/${file}`)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, ...args, ...write), 0, /To take it back/)
    expect(textOf(dir, file)).toContain(says)
    expectRan(tune(dir, ...args), 0, /Nothing to do/)
    expectRan(tune(dir, '--status'), 1, new RegExp(`ok +/${file} says what it should`))
    expectRan(tune(dir, '--undo', ...write), 0, /Taken back/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, '--status'), 1, /tune-host: none/)
  })
})

describe('several at once', () => {
  const all = [
    '--hugepages',
    '16G',
    '--page-size',
    '1G',
    '--threadirqs',
    '--vfio-group',
    'kvm',
    '--blacklist',
    'nouveau',
  ]

  it('are taken back one by one, and the last leaves nothing', () => {
    const dir = host()
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, ...all, ...write), 0)
    expectRan(tune(dir, '--undo', 'hugepages', ...write), 0, /Taken back/)
    expect(textOf(dir, GRUB)).toContain('" threadirqs module_blacklist=nouveau"'.slice(2))
    expect(textOf(dir, GRUB)).not.toContain('huge')
    expectRan(tune(dir, '--undo', 'threadirqs', 'blacklist', ...write), 0)
    expect(textOf(dir, GRUB)).toBeNull()
    expectRan(tune(dir, '--undo', 'threadirqs'), 2, /threadirqs: not set up by tune-host; there is vfio-group/)
    expectRan(tune(dir, '--undo', 'vfio-group', ...write), 0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('and a binding do not get in each other’s way', () => {
    const dir = host()
    const before = snapshotOf(join(dir, 'etc'))
    const bind = (...args: string[]): Ran => runScript('bind-vfio', ['--root', dir, ...args])
    expectRan(tune(dir, ...all, ...write), 0)
    expectRan(bind('--status'), 1, /none/)
    expectRan(bind('02:00', '--iommu-pt', ...write), 0)
    expectRan(tune(dir, '--undo', ...write), 0)
    expect(textOf(dir, GRUB)).toContain(' iommu=pt"')
    expect(textOf(dir, GRUB)).not.toContain('threadirqs')
    expectRan(tune(dir, '--threadirqs', ...write), 0)
    expectRan(bind('--undo', '--all', ...write), 0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('isolates from the timer tick too where the kernel can', () => {
    const config = `boot/config-${loadMachine(system.machine).kernel}`
    const dir = host({ [config]: kernelConfig({ NO_HZ_FULL: 'y' }) })
    expectRan(tune(dir, '--isolate', '2'), 1, / isolcpus=managed_irq,domain,1,5 nohz_full=1,5 rcu_nocbs=1,5"/)
    expectRan(tune(host(), '--isolate', '2'), 1, /nohz_full is left out: the kernel was built without/)
  })

  it('run what makes boot entries, and reload nothing for a system that does not run', () => {
    const ran = tune(host(), ...all, '--json')
    const commands = JSON.parse(ran.stdout).changes.flatMap(
      (change: { command?: string[] }) => change.command?.join(' ') ?? [],
    )
    expect(commands).toEqual(['update-grub'])
  })

  it.skipIf(!has('udevadm') || runProgram('udevadm', ['verify', '--help']).code !== 0)(
    'rules pass udevadm verify',
    () => {
      const dir = host()
      tune(dir, '--vfio-group', 'kvm', '--disk', '/dev/disk/by-id/ata-X_1', ...write)
      const ran = runProgram('udevadm', [
        'verify',
        '--resolve-names=never',
        join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'),
      ])
      expect(ran.code).toBe(0)
    },
  )
})

describe('what programs keep', () => {
  const commands = (ran: Ran): string[] =>
    JSON.parse(ran.stdout).changes.flatMap((change: { command?: string[] }) => change.command?.join(' ') ?? [])

  it('packages that are missing are installed, and only these are removed again', () => {
    const dir = host({ 'usr/bin/swtpm': '#!/bin/sh\n', 'usr/share/OVMF/OVMF_CODE_4M.fd': '' })
    const install = 'apt-get install -y --no-install-recommends qemu-system-x86 libvirt-daemon-system virtiofsd'
    expect(commands(tune(dir, '--packages', '--json'))).toEqual([install])
    expectRan(tune(dir, '--packages', ...write), 0, new RegExp(install))
    expect(commands(tune(dir, '--undo', '--json'))).toEqual([
      'apt-get remove -y qemu-system-x86 libvirt-daemon-system virtiofsd',
    ])
  })

  it('libvirt is enabled, and disabled again', () => {
    const dir = host({ 'usr/sbin/libvirtd': '#!/bin/sh\n' })
    expect(commands(tune(dir, '--libvirt', '--json'))).toEqual(['systemctl enable libvirtd.service'])
    tune(dir, '--libvirt', ...write)
    expect(commands(tune(dir, '--undo', '--json'))).toEqual(['systemctl disable libvirtd.service'])
    expectRan(tune(host(), '--libvirt'), 2, /libvirt is not installed; --packages does that first/)
  })

  it('where packages are not installed in place, the command is for the person', () => {
    const dir = systemDir({ ...system, family: 'nixos' })
    expectRan(tune(dir, '--packages'), 2, /by hand:\n.*environment\.systemPackages/)
  })

  it.skipIf(!has('virt-xml-validate'))('the network is one that libvirt knows', () => {
    const dir = host()
    tune(dir, '--libvirt-network', 'br0', ...write)
    const ran = runProgram('virt-xml-validate', [join(dir, 'etc/vfio-scripts/network-br0.xml'), 'network'])
    expect(ran).toMatchObject({ code: 0 })
  })
})

describe('refusals', { concurrent: true }, () => {
  it.each<[string, string[], RegExp, Record<string, string>?]>([
    ['no settings', [], /nothing was asked for/],
    ['an option alone', ['--page-size', '1G'], /--page-size goes with --hugepages/],
    ['no size', ['--hugepages', 'much'], /--hugepages much: not a size/],
    ['pages that there are not', ['--hugepages', '1G', '--page-size', '4M'], /has pages of 2 MiB and 1 GiB/],
    ['a node that there is not', ['--hugepages', '1G', '--node', '7'], /no such NUMA node/],
    ['all memory', ['--hugepages', '63G'], /host-memory.*would keep 1 GiB of 64 GiB.*--force host-memory/],
    ['all of a node', ['--hugepages', '31G', '--node', '0'], /host-memory.*would keep 1 GiB of 32 GiB/],
    [
      'huge pages that are set already',
      ['--hugepages', '4G', '--page-size', '1G'],
      /grub:1: hugepages=2 is set already/,
      { 'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="hugepages=2"\n' },
    ],
    ['more vCPUs than there are', ['--isolate', '8'], /8 vCPUs are more than this host can give.*ask for 6 at most/],
    ['no number of vCPUs', ['--isolate', 'all'], /is no number of CPUs/],
    ['a device that there is not', ['--isolate', '2', '--near', '77:00'], /77:00: no such device/],
    ['a governor that there is not', ['--governor', 'fast'], /this machine has performance, schedutil/],
    ['a driver in use', ['--blacklist', 'nvidia'], /driver-needed.*nvidia serves devices/s],
    ['a driver of no name', ['--blacklist', 'a b'], /not the name of a module/],
    ['no such group', ['--vfio-group', 'nobodies'], /there is no such group/],
    ['a group of bad name', ['--vfio-group', 'a"b'], /not the name of a group/],
    ['a disk by a name that moves', ['--disk', '/dev/sda'], /below \/dev\/disk\/by-id/],
    ['a long interface', ['--tap', 'a-name-that-is-long', '--user', 'ann'], /not a name for a network interface/],
    ['a TAP of nobody', ['--tap', 'tap0'], /--tap needs --user/],
    ['interrupts', ['--unsafe-interrupts'], /refused \(unsafe-interrupts\).*--force unsafe-interrupts overrides/],
    ['groups', ['--acs-override'], /refused \(acs-override\).*--force acs-override overrides/],
    ['both ways', ['--threadirqs', '--undo'], /--undo takes no settings/],
    ['a feature without undo', ['--threadirqs', 'hugepages'], /features are named with --undo only/],
  ])('%s', (_, args, says, files) => {
    const dir = host(files)
    const before = snapshotOf(dir)
    const ran = tune(dir, ...args, '--apply')
    expect(ran.stderr).toMatch(says)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(snapshotOf(dir)).toBe(before)
  })

  it('an ACS override that no kernel here has, whatever is forced', () => {
    const dir = systemDir({ machine: 'x570-navi10' })
    expectRan(
      tune(dir, '--acs-override', '--force', 'acs-override'),
      2,
      /does not have it: no kernel of a large distribution does/,
    )
  })
})

it('names what was changed since, and takes only its own back', () => {
  const dir = host()
  expectRan(tune(dir, '--vfio-group', 'kvm', ...write), 0)
  const rules = 'etc/udev/rules.d/99-vfio-scripts.rules'
  appendFileSync(join(dir, rules), '# mine\n')
  expectRan(tune(dir, '--undo', ...write), 0, /was changed since/)
  expect(textOf(dir, rules)).toContain('# mine')
  expect(textOf(dir, rules)).not.toContain('vfio"')
})
