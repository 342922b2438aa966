import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readJournal } from '../../lib/change/journal.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { tuneHostStatus } from '../../lib/tune/tuning-status.ts'
import { bind, expectRan, tune } from '../support/bind.ts'
import { MAC } from '../support/networks.ts'
import { evaluateModule, HAS_NIX, parseNix } from '../support/nix.ts'
import { hostWith } from '../support/root.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'
import { host } from '../support/tune.ts'

// On NixOS all that tune-host sets up is one module, which stands beside that of bind-vfio.

const file = 'etc/nixos/vfio-host.nix'
const write = ['--output', `/${file}`, '--apply']

function nixos(files: Readonly<Record<string, string>> = {}): string {
  const dir = host(files, { family: 'nixos' })
  for (const name of ['enp5s0', 'lo']) {
    mkdirSync(join(dir, `sys/class/net/${name}`), { recursive: true })
    writeFileSync(join(dir, `sys/class/net/${name}/address`), '52:54:00:12:34:56\n')
  }
  return dir
}

const rule = 'SUBSYSTEM=="vfio", GROUP="kvm", MODE="0660"'
const port = ['--bridge', 'br0', '--port', 'enp5s0']

/** What is asked for, and what the module then sets. */
const FEATURES: [name: string, args: string[], sets: object][] = [
  ['hugepages', ['--hugepages', '16G'], { boot: { kernel: { sysctl: { 'vm.nr_hugepages': 8192 } } } }],
  [
    'large hugepages',
    ['--hugepages', '16G', '--page-size', '1G'],
    { boot: { kernelParams: ['hugepagesz=1G', 'hugepages=16'] } },
  ],
  [
    'isolate',
    ['--isolate', '4'],
    { boot: { kernelParams: ['isolcpus=managed_irq,domain,1-2,5-6', 'rcu_nocbs=1-2,5-6'] } },
  ],
  [
    'isolate by slices',
    ['--isolate', '3', '--slices'],
    {
      systemd: {
        slices: {
          system: { sliceConfig: { AllowedCPUs: '0,3-4,7' } },
          user: { sliceConfig: { AllowedCPUs: '0,3-4,7' } },
        },
        units: { 'init.scope': { overrideStrategy: 'asDropin', text: '[Scope]\nAllowedCPUs=0,3-4,7\n' } },
      },
    },
  ],
  ['governor', ['--governor', 'performance'], { powerManagement: { cpuFreqGovernor: 'performance' } }],
  [
    'ignore-msrs',
    ['--ignore-msrs'],
    { boot: { extraModprobeConfig: 'options kvm ignore_msrs=1 report_ignored_msrs=0\n' } },
  ],
  [
    'vfio-group',
    ['--vfio-group', 'kvm', '--memory', '16G'],
    {
      services: { udev: { extraRules: `${rule}\n` } },
      security: { pam: { loginLimits: [{ domain: '@kvm', type: '-', item: 'memlock', value: '17825792' }] } },
    },
  ],
  ['text-mode', ['--text-mode'], { boot: { kernelParams: ['systemd.unit=multi-user.target'] } }],
  ['blacklist', ['--blacklist', 'nouveau'], { boot: { kernelParams: ['module_blacklist=nouveau'] } }],
  [
    'bridge',
    port,
    {
      networking: {
        bridges: { br0: { interfaces: ['enp5s0'] } },
        interfaces: { br0: { macAddress: MAC, useDHCP: true } },
      },
    },
  ],
  [
    'bridge of a VLAN',
    [...port, '--vlan', '20'],
    {
      networking: {
        vlans: { 'enp5s0.20': { id: 20, interface: 'enp5s0' } },
        bridges: { br0: { interfaces: ['enp5s0.20'] } },
        interfaces: { br0: { useDHCP: false } },
      },
    },
  ],
  [
    'bridge of a VLAN where the host has addresses',
    [
      ...[...port, '--vlan', '20', '--address', '10.0.0.37/24', '--gateway', '10.0.0.1', '--dns', '10.0.0.2'],
      ...['--address', 'fd00::37/64'],
    ],
    {
      networking: {
        vlans: { 'enp5s0.20': { id: 20, interface: 'enp5s0' } },
        bridges: { br0: { interfaces: ['enp5s0.20'] } },
        interfaces: {
          br0: {
            useDHCP: false,
            ipv4: { addresses: [{ address: '10.0.0.37', prefixLength: 24 }] },
            ipv6: { addresses: [{ address: 'fd00::37', prefixLength: 64 }] },
          },
        },
        defaultGateway: { address: '10.0.0.1', interface: 'br0' },
        nameservers: ['10.0.0.2'],
      },
    },
  ],
  [
    'tap',
    ['--tap', 'tap0', '--user', 'ann', '--tap-bridge', 'br0'],
    {
      networking: {
        bridges: { br0: { interfaces: ['tap0'] } },
        interfaces: { tap0: { virtual: true, virtualType: 'tap', virtualOwner: 'ann', useDHCP: false } },
      },
    },
  ],
  [
    'packages',
    ['--packages'],
    {
      environment: { systemPackages: ['qemu_kvm', 'virt-manager', 'libosinfo'] },
      virtualisation: {
        libvirtd: { enable: true, qemu: { swtpm: { enable: true }, vhostUserPackages: ['virtiofsd'] } },
      },
    },
  ],
]

describe('the firmware of guests', () => {
  const release = (version: string): string => {
    const dir = nixos({ 'etc/os-release': `ID=nixos\nNAME=NixOS\nVERSION_ID="${version}"\n` })
    expectRan(tune(dir, '--packages', ...write), 0, /Import it/)
    return textOf(dir, file) ?? ''
  }

  it('is asked for below 25.11, where it became an error, as bind-vfio does', () => {
    const module = release('25.05')
    expect(module).toContain('virtualisation.libvirtd.qemu.ovmf.enable = true;')
    if (HAS_NIX)
      expect(evaluateModule(module)).toMatchObject({
        virtualisation: {
          libvirtd: {
            qemu: { ovmf: { enable: true, packages: [{ name: 'OVMFFull', secureBoot: true, tpmSupport: true }] } },
          },
        },
      })
    expect(release('25.11')).not.toContain('ovmf')
  })
})

describe('each feature', { concurrent: true }, () => {
  it.each(FEATURES)('%s: planned, applied once, taken back', (_, args, sets) => {
    const dir = nixos()
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, ...args), 1, /Save this, or add --output FILE --apply/)
    expectRan(tune(dir, ...args, '--apply'), 2, /--apply needs --output FILE.*vfio-host\.nix/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, ...args, ...write), 0, /Import it: imports = \[ \.\/vfio-host\.nix \];/)
    const module = textOf(dir, file) ?? ''
    expect(module).toMatch(/^# Written by vfio-scripts; tune-host --undo --apply takes it back\.\n/)
    if (HAS_NIX) {
      parseNix(module)
      expect(evaluateModule(module)).toEqual(sets)
    }
    expectRan(tune(dir, ...args), 0, /Nothing to do/)
    expectRan(tune(dir, '--status'), 1, /reboot-needed[\s\S]*vfio-host\.nix says what it should/)
    expectRan(tune(dir, '--undo', ...write.slice(2)), 0, /Take \.\/vfio-host\.nix out of imports/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })
})

it('the plan is a module to copy', async () => {
  const ran = tune(nixos(), '--hugepages', '16G', '--vfio-group', 'kvm', '--governor', 'performance')
  await expect(ran.stdout).toMatchFileSnapshot('../golden/tune-host/nixos.txt')
})

it('the plan with a confirm timer shows all of its files, not the first one as the module to copy', () => {
  const ran = tune(nixos({ 'usr/lib/systemd/systemd': '' }), '--hugepages', '16G', '--confirm-within', '10m')
  expectRan(ran, 1, /^ {2}\+ \/etc\/nixos\/vfio-host\.nix /m)
  expect(ran.stdout).toMatch(/^ {2}\+ \/etc\/systemd\/system\/vfio-scripts-confirm\.timer /m)
  expect(ran.stdout).not.toContain('Save this')
})

it('several are one module, and are taken back one by one', () => {
  const dir = nixos()
  const before = snapshotOf(join(dir, 'etc'))
  expectRan(tune(dir, ...port, '--threadirqs', '--ignore-msrs', '--libvirt', ...write), 0)
  const first = textOf(dir, file)
  expectRan(tune(dir, '--tap', 'tap0', '--user', 'ann', '--tap-bridge', 'br0', ...write), 0)
  expect(textOf(dir, file)).toContain('networking.bridges."br0".interfaces = [\n    "enp5s0"\n    "tap0"\n  ];')
  if (HAS_NIX) parseNix(textOf(dir, file) ?? '')
  expectRan(tune(dir, '--undo', 'tap', '--apply'), 0)
  expect(textOf(dir, file)).toBe(first)
  expectRan(tune(dir, '--undo', 'ignore-msrs', 'bridge', '--apply'), 0)
  expect(textOf(dir, file)).not.toMatch(/kvm|networking/)
  expectRan(tune(dir, '--undo', '--apply'), 0)
  expect(snapshotOf(join(dir, 'etc'))).toBe(before)
})

it('stands beside the module of bind-vfio', () => {
  const dir = nixos()
  const other = 'etc/nixos/vfio.nix'
  expectRan(bind(dir, '02:00', '--output', `/${other}`, '--apply'), 0)
  expectRan(tune(dir, '--hugepages', '16G', '--output', `/${other}`), 2, /was not written by this script/)
  expectRan(tune(dir, '--hugepages', '16G', '--page-size', '1G', ...write), 0)
  const bound = textOf(dir, other)
  expectRan(bind(dir, '02:00'), 0, /Nothing to do/)
  expectRan(bind(dir, '--undo', '--apply'), 0)
  expectRan(bind(dir, '02:00'), 1, /Save this/)
  expectRan(bind(dir, '02:00', '--output', `/${other}`, '--apply'), 0)
  expectRan(tune(dir, '--undo', '--apply'), 0)
  expect([textOf(dir, other), textOf(dir, file)]).toEqual([bound, null])
})

it('is in force after the boot of a system that was made of it, as the kernel shows it', () => {
  const dir = nixos()
  expectRan(tune(dir, '--hugepages', '16G', '--threadirqs', ...write), 0)
  const files = openReader(dir)
  const journal = readJournal(files)
  const state = (boot: string | null, line: string, pages: string): string => {
    const machine = hostWith({ '/proc/cmdline': line, '/proc/sys/vm/nr_hugepages': pages }).files
    return tuneHostStatus({ files, machine, running: true, kernels: [] }, undefined, journal, boot).state
  }
  expect(state(null, 'quiet threadirqs', '8192')).toBe('reboot-needed')
  expect(state('next', 'quiet threadirqs', '8192')).toBe('in-force')
  expect(state('next', 'quiet', '8192')).toBe('drifted')
  expect(state('next', 'quiet threadirqs', '17')).toBe('drifted')
})

describe('refuses', () => {
  it('another value than the configuration has', () => {
    const params = 'nix/store/00000000000000000000000000000000-nixos-system-host-25.11/kernel-params'
    expectRan(
      tune(nixos({ [params]: 'hugepages=2' }), '--hugepages', '8G', '--page-size', '1G'),
      2,
      /kernel-params:1: hugepages=2 is set already/,
    )
  })

  it('a file of somebody else', () => {
    const dir = nixos()
    writeIn(dir, file, '{ }\n')
    expectRan(tune(dir, '--threadirqs', ...write), 2, /vfio-host\.nix: exists, and was not written by this script/)
    expect(textOf(dir, file)).toBe('{ }\n')
  })

  it('--output elsewhere', () => {
    expectRan(tune(host(), '--threadirqs', '--output', '/x.nix'), 2, /--output is for NixOS, and this is Debian/)
  })
})
