import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bind, expectRan, system, tune, updateGrub, write } from '../support/bind.ts'
import { loadMachine } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { type Ran, runProgram, works } from '../support/run.ts'
import { kernelConfig, snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'
import { host } from '../support/tune.ts'

const SILVERBLUE = 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=43\nVARIANT_ID=silverblue\n'
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
    updateGrub(dir)
    expectRan(tune(dir, ...args), 0, /Nothing to do/)
    expectRan(tune(dir, '--status'), 1, new RegExp(`ok +/${file} says what it should`))
    expectRan(tune(dir, '--undo', ...write), 0, /Taken back/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, '--status'), 1, /tune-host: nothing is set up/)
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
    expectRan(tune(dir, ...all, ...write), 0)
    expectRan(bind(dir, '--status'), 1, /nothing is set up/)
    // Whoever finds the file is told of each script.
    expect(textOf(dir, GRUB)).toMatch(/^# Written by vfio-scripts; bind-vfio.* and tune-host take out their own/)
    expectRan(bind(dir, '02:00', '--iommu-pt', ...write), 0)
    expectRan(bind(dir, '--undo', ...write), 0, /zz-vfio-scripts\.cfg +tune-host still needs the rest/)
    expectRan(
      bind(dir, '--undo'),
      0,
      /nothing to take back\. What tune-host set up goes with tune-host --undo --apply\./,
    )
    expectRan(bind(dir, '02:00', '--iommu-pt', ...write), 0)
    expectRan(tune(dir, '--undo', ...write), 0)
    expect(textOf(dir, GRUB)).toContain(' iommu=pt"')
    expect(textOf(dir, GRUB)).not.toContain('threadirqs')
    expectRan(tune(dir, '--threadirqs', ...write), 0)
    expectRan(bind(dir, '--undo', '--all', ...write), 0)
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

  needs('udevadm verify', works('udevadm', 'verify', '--help')).it('rules pass udevadm verify', () => {
    const dir = host()
    tune(dir, '--vfio-group', 'kvm', '--disk', '/dev/disk/by-id/ata-X_1', ...write)
    const ran = runProgram('udevadm', [
      'verify',
      '--resolve-names=never',
      join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'),
    ])
    expect(ran.code).toBe(0)
  })
})

describe('what programs keep', () => {
  const commands = (ran: Ran): string[] =>
    JSON.parse(ran.stdout).changes.flatMap((change: { command?: string[] }) => change.command?.join(' ') ?? [])

  it('packages that are missing are installed, and only these are removed again', () => {
    const dir = host({
      'usr/bin/swtpm': '#!/bin/sh\n',
      'usr/share/OVMF/OVMF_CODE_4M.fd': '',
      'usr/share/OVMF/OVMF_VARS_4M.fd': '',
    })
    const packages =
      'qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients dnsmasq-base qemu-system-common virtinst libosinfo-bin'
    const install = `apt-get install -y --no-install-recommends ${packages}`
    expect(commands(tune(dir, '--packages', '--json'))).toEqual([install])
    expectRan(tune(dir, '--packages', ...write), 0, new RegExp(install))
    expect(commands(tune(dir, '--undo', '--json'))).toEqual([`apt-get remove -y ${packages}`])
    expect(textOf(dir, 'var/lib/vfio-scripts/0001/undo.sh')).toMatch(/^ *echo 'Taken back\.'$/m)
    const back = tune(dir, '--undo', ...write)
    expectRan(back, 0, /Taken back\./)
    expect(back.stdout).not.toContain('Reboot')
    const newer = host({ 'etc/os-release': 'ID=debian\nVERSION_CODENAME=trixie\n' })
    expect(commands(tune(newer, '--packages', '--json'))[0]).toMatch(
      / qemu-utils qemu-system-modules-spice .* virtiofsd /,
    )
  })

  // Without package lists apt knows no name at all.
  needs('lists of packages for apt', works('apt-cache', 'show', 'qemu-system-x86')).it(
    'apt has packages of these names',
    () => {
      const dir = host({ 'etc/os-release': readFileSync('/etc/os-release', 'utf8') })
      const [install = ''] = commands(tune(dir, '--packages', '--json'))
      expectRan(runProgram('apt-get', ['--simulate', ...install.split(' ').slice(1)]), 0)
    },
  )

  it('libvirt is enabled, and disabled again', () => {
    // As on Debian: a script for OpenRC beside the unit.
    const dir = host({ 'usr/sbin/libvirtd': '', 'etc/init.d/libvirtd': '', 'usr/lib/systemd/systemd': '' })
    expect(commands(tune(dir, '--libvirt', '--json'))).toEqual(['systemctl enable libvirtd.service'])
    tune(dir, '--libvirt', ...write)
    expect(tune(dir, '--status').stdout).not.toMatch(/libvirtd|problem|unknown/)
    expect(commands(tune(dir, '--undo', '--json'))).toEqual(['systemctl disable libvirtd.service'])
    expectRan(tune(host(), '--libvirt'), 2, /libvirt is not installed; --packages does that first/)
  })

  it('a service is stopped before its package is removed', () => {
    const dir = host()
    expectRan(tune(dir, '--packages', ...write), 0)
    writeIn(dir, 'usr/sbin/libvirtd', '#!/bin/sh\n')
    expectRan(tune(dir, '--libvirt', ...write), 0)
    expect(commands(tune(dir, '--undo', '--json'))).toEqual([
      'systemctl disable libvirtd.service',
      expect.stringMatching(/^apt-get remove /),
    ])
  })

  it('where packages are not installed in place, the command is for the person', () => {
    const dir = systemDir({ ...system, family: 'fedora', files: { 'etc/os-release': SILVERBLUE } })
    expectRan(tune(dir, '--packages'), 2, /by hand:\n.*rpm-ostree install/)
  })

  needs('virt-xml-validate').it('the network is one that libvirt knows', () => {
    const dir = host()
    tune(dir, '--libvirt-network', 'br0', ...write)
    const ran = runProgram('virt-xml-validate', [join(dir, 'etc/vfio-scripts/network-br0.xml'), 'network'])
    expect(ran).toMatchObject({ code: 0 })
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

it('a whole file of its own goes, with what was changed in it', () => {
  const dir = host()
  expectRan(tune(dir, '--libvirt-network', 'br0', '--force', 'no-bridge', ...write), 0)
  const network = 'etc/vfio-scripts/network-br0.xml'
  writeIn(dir, network, textOf(dir, network)?.replace("mode='bridge'", "mode='bridge' dev='eth9'") ?? '')
  expectRan(tune(dir, '--status'), 1, /network-br0\.xml was changed/)
  expectRan(tune(dir, '--undo', ...write), 0, /was changed since/)
  expect(textOf(dir, network)).toBeNull()
})
