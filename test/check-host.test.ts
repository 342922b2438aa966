import { Buffer } from 'node:buffer'
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { CheckHost } from '../lib/cli/checking.ts'
import { expectRan } from './bind.ts'
import { loadMachine, scratchDir } from './machine.ts'
import { type Ran, runScript } from './run.ts'
import { kernelConfig, systemDir } from './system.ts'

const check = (dir: string, ...args: string[]): Ran => runScript('check-host', ['--root', dir, ...args])
const answer = (ran: Ran): CheckHost => JSON.parse(ran.stdout)

const machine = 'i9-14900k-vmd'
const release = loadMachine(machine).kernel

const HEALTHY: Readonly<Record<string, string>> = {
  'proc/cpuinfo': 'vendor_id\t: GenuineIntel\nmodel name\t: one\nflags\t\t: fpu vmx\n',
  'proc/cmdline': 'BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n',
  'proc/meminfo': 'MemTotal:       67108864 kB\nMemAvailable:   60000000 kB\n',
  'proc/self/status': 'Name:\tnode\nUid:\t1000\t1000\t1000\t1000\n',
  'proc/self/limits': 'Max locked memory         unlimited            unlimited            bytes     \n',
  'proc/iomem':
    '80000000-8fffffff : PCI Bus 0000:01\n  80000000-80ffffff : 0000:01:00.0\n    80000000-803fffff : BOOTFB\n90000000-9fffffff : 0000:02:00.0\n',
  'sys/module/kvm_intel/refcnt': '0\n',
  'sys/module/kvm/parameters/ignore_msrs': 'N\n',
  'sys/class/misc/kvm/dev': '10:232\n',
  'sys/devices/system/cpu/online': '0-3\n',
  'sys/devices/system/cpu/cpufreq/policy0/scaling_governor': 'schedutil\n',
  'sys/devices/system/cpu/cpufreq/policy0/scaling_driver': 'acpi-cpufreq\n',
  'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '0\n',
  'var/log/dmesg': '[    0.000000] Linux version 6.14\n[    0.1] DMAR-IR: Enabled IRQ remapping in x2apic mode\n',
  'etc/passwd': 'root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n',
  'etc/group': 'root:x:0:\nkvm:x:104:ann\nlibvirt:x:105:ann\n',
  'usr/bin/qemu-system-x86_64': '#!/bin/sh\n',
  'usr/sbin/libvirtd': '#!/bin/sh\n',
  'usr/bin/swtpm': '#!/bin/sh\n',
  'usr/libexec/virtiofsd': '#!/bin/sh\n',
  'usr/share/OVMF/OVMF_CODE_4M.fd': 'firmware',
  'run/libvirt/libvirt-sock': '',
}

/** A host without a fault, less what is `null`. */
function host(files: Readonly<Record<string, string | null>> = {}): string {
  const dir = systemDir({ machine })
  for (const [path, text] of Object.entries({ ...HEALTHY, ...files })) {
    rmSync(join(dir, path), { recursive: true, force: true })
    if (text === null) continue
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), text)
  }
  return dir
}

const device = 'sys/bus/pci/devices/0000:02:00.0'

/** One fault each: its code, what makes it, what to do says. */
const FAULTS: [code: string, files: Record<string, string | null>, next: RegExp, args?: string[]][] = [
  [
    'cpu-virtualisation',
    { 'proc/cpuinfo': 'vendor_id\t: GenuineIntel\nflags\t\t: fpu\n' },
    /VT-x or SVM on in the firmware/,
  ],
  ['kvm', { 'sys/module/kvm_intel': null }, /modprobe kvm_intel/],
  ['kvm', { 'sys/class/misc/kvm': null }, /kernel log/],
  [
    'interrupt-remapping',
    { 'var/log/dmesg': '[    0.000000] Linux version 6.14\n' },
    /interrupt remapping on in the firmware/,
  ],
  ['kernel-arguments', { 'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="quiet iommu=pt"\n' }, /reboot/],
  ['vfio-modules', { [`lib/modules/${release}/modules.dep`]: 'kernel/drivers/nouveau.ko:\n' }, /--kernel-config/],
  ['dangerous-settings', { 'sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts': 'Y\n' }, /take out/],
  ['dangerous-settings', { 'sys/module/vfio/parameters/enable_unsafe_noiommu_mode': 'Y\n' }, /take out/],
  ['dangerous-settings', { 'sys/module/vfio_pci/parameters/disable_denylist': 'Y\n' }, /take out/],
  ['dangerous-settings', { 'proc/cmdline': 'quiet pcie_acs_override=downstream\n' }, /take out/],
  ['modprobe-ids', { 'etc/modprobe.d/vfio.conf': 'options vfio-pci ids=10de:1cb6, 10de:0fb9\n' }, /correct the line/],
  ['modprobe-ids', { 'etc/modprobe.d/vfio.conf': 'options vfio-pci ids=10de:icb6\n' }, /correct the line/],
  ['libvirt-running', { 'run/libvirt/libvirt-sock': null }, /systemctl enable --now libvirtd/],
  ['user-groups', { 'etc/group': 'kvm:x:104:\nlibvirt:x:105:ann\n' }, /usermod -aG kvm ann/],
  [
    'memory-lock',
    {
      'usr/sbin/libvirtd': null,
      'proc/self/limits': 'Max locked memory         8388608              8388608              bytes     \n',
    },
    /tune-host --vfio-group kvm/,
  ],
  ['hugepages-given', { 'proc/cmdline': 'quiet hugepages=512\n' }, /ask for fewer/],
  ['governor', { 'sys/devices/system/cpu/cpufreq/policy0/scaling_governor': 'powersave\n' }, /tune-host --governor/],
  ['qemu', { 'usr/bin/qemu-system-x86_64': null }, /apt install qemu-system-x86/],
  ['ovmf', { 'usr/share/OVMF/OVMF_CODE_4M.fd': null }, /apt install ovmf/],
  ['kernel-config', { [`boot/config-${release}`]: kernelConfig({ VFIO_PCI: 'n' }) }, /scripts\/config/],
  [
    'framebuffer',
    { 'proc/iomem': '90000000-9fffffff : 0000:02:00.0\n  90000000-903fffff : simplefb\n' },
    /initcall_blacklist=sysfb_init/,
    ['--device', '02:00'],
  ],
  [
    'rom',
    { [`${device}/boot_vga`]: '1\n', [`${device}/resource`]: `${'0x0 0x0 0x0\n'.repeat(6)}0xc0000 0xdffff 0x212\n` },
    /ROM file that was read/,
    ['--device', '02:00', '--force-none'],
  ],
]

describe('a host', { concurrent: true }, () => {
  it('that is healthy has no problem, and nothing that is not known', () => {
    const ran = check(host(), '--json')
    const { findings, ...rest } = answer(ran)
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([])
    expect(rest).toEqual({ schema: 'vfio-scripts/check-host/1', healthy: true, devices: [] })
    expect(ran.code).toBe(0)
    expectRan(check(host()), 0, /^check-host: no problem \(0 not known, \d+ well\)\n +\d+ checks found nothing wrong/)
  })

  it.each(FAULTS.filter(([code]) => code !== 'rom'))(
    '%s is found, and nothing else',
    (code, files, next, args = []) => {
      const dir = host(files)
      const ran = check(dir, '--json', ...args)
      const before =
        args.length === 0
          ? []
          : answer(check(host(), '--json', ...args))
              .findings.filter(({ state }) => state === 'problem')
              .map((one) => one.code)
      const problems = answer(ran).findings.filter(({ state }) => state === 'problem')
      expect(problems.map((one) => one.code).filter((one) => !before.includes(one))).toEqual([code])
      expect(problems.find((one) => one.code === code)?.next).toMatch(next)
      expect(ran.code).toBe(1)
      expectRan(check(dir, ...args), 1, next)
    },
  )

  it('with its IOMMU off says what to do', () => {
    const dir = systemDir({ machine: 'kernel-off' })
    const { findings } = answer(check(dir, '--json'))
    expect(findings.find(({ code }) => code === 'iommu')).toMatchObject({
      state: 'problem',
      next: expect.stringMatching(/kernel log/),
    })
  })

  it('whose log does not go back to the boot says so', () => {
    const { findings } = answer(check(host({ 'var/log/dmesg': '[ 9000.0] usb 1-1: new device\n' }), '--json'))
    expect(findings.find(({ code }) => code === 'interrupt-remapping')).toMatchObject({ state: 'unknown' })
  })
})

describe('--device', { concurrent: true }, () => {
  it('says what speaks against a binding, and afterwards whether it is as promised', () => {
    const dir = host()
    const before = answer(check(dir, '--device', '02:00', '--json'))
    expect(before.devices.map(({ address }) => address)).toEqual(['0000:02:00.0', '0000:02:00.1'])
    expect(before.findings.map(({ code }) => code)).toEqual(
      expect.arrayContaining(['groups', 'reset', 'boot-vga', 'only-gpu']),
    )
    runScript('bind-vfio', ['--root', dir, '02:00', '--apply', '--no-commands'])
    const after = answer(check(dir, '--device', '02:00', '--json'))
    expect(after.findings.map(({ code }) => code)).toEqual(expect.arrayContaining(['files', 'images', 'drivers']))
    expect(after.findings.map(({ code }) => code)).not.toContain('boot-vga')
  })

  it('names a better slot for a card that shares its group', () => {
    const dir = systemDir({ machine: 'ivy-bridge-h77' })
    const ran = check(dir, '--device', '01:00', '--json')
    const found = answer(ran).findings.find(({ code }) => code === 'groups')
    expect(found?.state).toMatch(/ok|problem/)
    if (found?.state === 'problem') expect(found.next).toMatch(/slot/)
  })

  it.each<[string, string[], RegExp]>([
    ['a device that there is not', ['--device', '77:00'], /77:00: no such device on this machine/],
    ['no device', ['--device', 'card'], /card: not a device/],
    ['a ROM without its card', ['--rom', '/dev/null'], /--rom goes with --device/],
    [
      'a ROM that there is not',
      ['--device', '02:00', '--rom', '/no/such/rom'],
      /\/no\/such\/rom: there is no such file/,
    ],
  ])('refuses %s', (_, args, says) => {
    const ran = check(host(), ...args)
    expect(ran.stderr).toMatch(says)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
  })
})

/** An expansion ROM with images of these code types. */
function romOf(vendor: number, id: number, ...types: number[]): Buffer {
  return Buffer.concat(
    types.map((type, index) => {
      const image = Buffer.alloc(1024)
      image.writeUInt16LE(0xaa55, 0)
      image.writeUInt16LE(0x40, 0x18)
      image.write('PCIR', 0x40)
      image.writeUInt16LE(vendor, 0x44)
      image.writeUInt16LE(id, 0x46)
      image.writeUInt16LE(2, 0x50)
      image[0x54] = type
      image[0x55] = index === types.length - 1 ? 0x80 : 0
      return image
    }),
  )
}

describe('--rom', () => {
  it.each<[string, Buffer, 'ok' | 'problem', RegExp]>([
    ['with a UEFI image behind the old one', romOf(0x10de, 0x1cb6, 0, 3), 'ok', /holds a UEFI image/],
    ['without one', romOf(0x10de, 0x1cb6, 0), 'problem', /holds no UEFI image/],
    ['of another card', romOf(0x1002, 0x67df, 0, 3), 'problem', /is of another card/],
    ['that is none', Buffer.from('NVGI and much more that is no ROM at all'), 'problem', /is no expansion ROM/],
    ['that is cut short', romOf(0x10de, 0x1cb6, 0).subarray(0, 0x30), 'problem', /is no expansion ROM/],
  ])('a file %s', (_, data, state, says) => {
    const file = join(scratchDir('rom'), 'card.rom')
    writeFileSync(file, data)
    const { findings } = answer(check(host(), '--device', '02:00', '--rom', file, '--json'))
    expect(findings.find(({ code }) => code === 'rom-file')).toMatchObject({
      state,
      summary: expect.stringMatching(says),
    })
  })
})

it('a capture reads back to the same findings', () => {
  const dir = host()
  const copy = join(scratchDir('check'), 'copy')
  const first = check(dir, '--json', '--device', '02:00', '--capture', copy)
  expect(readdirSync(copy)).toContain('var')
  const again = runScript('check-host', ['--root', copy, '--json', '--device', '02:00'])
  const codes = (ran: Ran): string[] => answer(ran).findings.map(({ code, state }) => `${code} ${state}`)
  // Who there is on a machine is nobody's business.
  expect(existsSync(join(copy, 'etc/group'))).toBe(false)
  const others = (all: string[]): string[] => all.filter((one) => !one.startsWith('user-groups'))
  expect(others(codes(again))).toEqual(others(codes(first)))
})
