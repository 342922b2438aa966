import { chmodSync, existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { answer, check, HEALTHY, host, machine, release } from '../support/checking.ts'
import { loadMachine, scratchDir, writeMachine } from '../support/machine.ts'
import { type Ran, runScript } from '../support/run.ts'
import { kernelConfig, systemDir } from '../support/system.ts'

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
  ['modprobe-ids', { 'etc/modprobe.d/vfio.conf': 'option vfio-pci ids=10de:1cb6\n' }, /correct the line/],
  [
    'modprobe-ids',
    { 'etc/modprobe.d/vfio.conf': '# mine\noptions vfio_pci vfio-pci.ids=10de:1cb6,10de:0fb9\n' },
    /correct the line/,
  ],
  ['libvirt-running', { 'run/libvirt/libvirt-sock': null }, /systemctl enable --now libvirtd/],
  // Debian's package has a script for sysvinit, too.
  [
    'libvirt-running',
    { 'run/libvirt/libvirt-sock': null, 'etc/init.d/libvirtd': '', 'usr/lib/systemd/systemd': '' },
    /systemctl enable --now libvirtd/,
  ],
  ['user-groups', { 'etc/group': 'kvm:x:104:ann\nlibvirt:x:105:\n' }, /usermod -aG libvirt ann/],
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
  // The DRM driver for the firmware's picture since Linux 6.16.
  [
    'framebuffer',
    { 'proc/iomem': '90000000-9fffffff : 0000:02:00.0\n  90000000-903fffff : efidrm\n' },
    /initcall_blacklist=sysfb_init/,
    ['--device', '02:00'],
  ],
]

/** The firmware's variables: four bytes of attributes, and the value. */
function secureBoot(secure: number, setup: number): Record<string, string> {
  const vendor = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
  const variable = (value: number): string => `\u0006\0\0\0${String.fromCharCode(value)}`
  const folder = 'sys/firmware/efi/efivars'
  return { [`${folder}/SecureBoot-${vendor}`]: variable(secure), [`${folder}/SetupMode-${vendor}`]: variable(setup) }
}

describe('a host', { concurrent: true }, () => {
  it('that is healthy has no problem, and nothing that is not known', () => {
    const ran = check(host(), '--json')
    const { findings, ...rest } = answer(ran)
    expect(findings.filter(({ state }) => state !== 'ok')).toEqual([])
    expect(rest).toEqual({ schema: 'vfio-scripts/check-host/1', healthy: true, devices: [] })
    expect(ran.code).toBe(0)
    expectRan(check(host()), 0, /^check-host: no problem \(0 not known, \d+ well\)\n +\d+ checks found nothing wrong/)
  })

  it('has a list of IDs or modules in force when this boot has all of its members', () => {
    const ids = 'vfio-pci.ids=10de:1cb6,10de:0fb9 module_blacklist=nouveau,nvidia'
    const files = { 'etc/default/grub': `GRUB_CMDLINE_LINUX_DEFAULT="quiet ${ids}"\n` }
    const found = (line: string): string | undefined =>
      answer(check(host({ ...files, 'proc/cmdline': `quiet ${line}\n` }), '--json')).findings.find(
        ({ code }) => code === 'kernel-arguments',
      )?.state
    expect([found(ids), found(ids.replace(',10de:0fb9', '')), found(ids.replace(',nvidia', ''))]).toEqual([
      ...['ok', 'problem', 'problem'],
    ])
  })

  it('whose kernel has no VFIO groups has what QEMU alone needs; libvirt starts nothing there', () => {
    const modules = (...names: string[]) => ({
      [`lib/modules/${release}/modules.dep`]: names.map((name) => `kernel/drivers/${name}.ko:\n`).join(''),
    })
    const groupless = { [`boot/config-${release}`]: kernelConfig({ VFIO_DEVICE_CDEV: 'y', VFIO_GROUP: 'n' }) }
    const found = (files: Record<string, string | null>) =>
      answer(check(host(files), '--json')).findings.find(({ code }) => code === 'vfio-modules')
    const iommufd = { ...modules('vfio-pci', 'vfio', 'iommufd'), ...groupless }
    const withLibvirt = found(iommufd)
    expect([withLibvirt?.state, withLibvirt?.next]).toEqual(['problem', expect.stringMatching(/CONFIG_VFIO_GROUP/)])
    expect(found({ ...iommufd, 'usr/sbin/libvirtd': null })?.state).toBe('ok')
    expect(found({ ...modules('vfio-pci', 'vfio'), 'usr/sbin/libvirtd': null })?.state).toBe('problem')
  })

  it.each(FAULTS)('%s is found, and nothing else', (code, files, next, args = []) => {
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
  })

  it('--help has every option', async () => {
    await expect(runScript('check-host', ['--help']).stdout).toMatchFileSnapshot('../golden/check-host/help.txt')
  })

  it('with its IOMMU off says what to do', () => {
    const dir = systemDir({ machine: 'kernel-off' })
    const { findings } = answer(check(dir, '--json'))
    expect(findings.find(({ code }) => code === 'iommu')).toMatchObject({
      state: 'problem',
      next: expect.stringMatching(/kernel log/),
    })
  })

  it('counts huge pages of each size by themselves', () => {
    const folder = 'sys/kernel/mm/hugepages/hugepages-'
    const found = (gigantic: number) => {
      const dir = host({
        'proc/cmdline': 'quiet hugepages=4 hugepagesz=1G hugepages=8\n',
        [`${folder}2048kB/nr_hugepages`]: '4\n',
        [`${folder}1048576kB/nr_hugepages`]: `${gigantic}\n`,
      })
      return answer(check(dir, '--json')).findings.find(({ code }) => code === 'hugepages-given')
    }
    expect(found(8)).toMatchObject({ state: 'ok' })
    expect(found(6)).toMatchObject({ state: 'problem', summary: expect.stringMatching(/^6 of 8 huge pages of 1 ?G/) })
  })

  it('takes a group into account from the next login on', () => {
    const found = (mode: number, group: string) => {
      const dir = host({ 'etc/group': group })
      chmodSync(join(dir, 'dev/kvm'), mode)
      const { gid } = statSync(join(dir, 'dev/kvm'))
      expect([104, 105, 4711]).not.toContain(gid)
      return answer(check(dir, '--json')).findings.find(({ code }) => code === 'user-groups')
    }
    const [within, without] = ['kvm:x:104:ann\nlibvirt:x:105:ann\n', 'kvm:x:104:\nlibvirt:x:105:ann\n']
    expect(found(0o660, within)).toMatchObject({
      state: 'problem',
      next: expect.stringMatching(/^log out and in again/),
    })
    expect(found(0o660, without)).toMatchObject({
      state: 'problem',
      next: expect.stringMatching(/^usermod -aG kvm ann/),
    })
    // systemd's own rule: everybody may.
    expect(found(0o666, without)).toMatchObject({ state: 'ok' })
  })

  it('shows by the names of its interrupt chips that interrupts are remapped, without the kernel log', () => {
    const found = (chip: string) => {
      const dir = host({ 'var/log/dmesg': null, 'proc/interrupts': `   CPU0\n  9:  4  ${chip}  9-fasteoi  acpi\n` })
      return answer(check(dir, '--json')).findings.find(({ code }) => code === 'interrupt-remapping')
    }
    expect(found('IR-IO-APIC')).toMatchObject({
      state: 'ok',
      evidence: ['/proc/interrupts: 9: 4 IR-IO-APIC 9-fasteoi acpi'],
    })
    expect(found('IO-APIC')).toMatchObject({ state: 'unknown' })
  })

  it.each([
    'x86/cpu: VMX (outside TXT) disabled by BIOS',
    'kvm: disabled by bios',
    'kvm_amd: SVM disabled (by BIOS) in MSR_VM_CR on CPU 0',
  ])('whose firmware switched virtualisation off says so in the kernel’s words: %s', (words) => {
    const log = `${HEALTHY['var/log/dmesg']}[    0.2] ${words}\n`
    const dir = host({ 'var/log/dmesg': log, 'proc/cpuinfo': 'vendor_id\t: GenuineIntel\nflags\t\t: fpu\n' })
    const found = answer(check(dir, '--json')).findings.find(({ code }) => code === 'cpu-virtualisation')
    expect(found).toMatchObject({ state: 'problem', evidence: expect.arrayContaining([`[    0.2] ${words}`]) })
  })

  it('of which only /sys and /proc were kept has no program that is missing, and no module', () => {
    const tree = scratchDir('bare')
    writeMachine(loadMachine(machine), tree)
    for (const folder of ['sys/module', 'sys/firmware', 'sys/kernel/mm'])
      rmSync(join(tree, folder), { recursive: true, force: true })
    const { findings } = answer(check(tree, '--json'))
    const unread = ['kvm', 'qemu', 'ovmf', 'libvirt', 'libvirt-running', 'secure-boot', 'kernel-arguments']
    for (const one of [...unread, 'dangerous-settings', 'hugepages', 'msrs'])
      expect(findings.find(({ code }) => code === one)).toMatchObject({ state: 'unknown' })
  })

  it.each([
    ['of no firmware', { 'sys/firmware': null }, 'unknown', /^It is not known whether Secure Boot is on/],
    ['of BIOS', { 'sys/firmware': null, 'sys/firmware/memmap/0/start': '0\n' }, 'ok', /^The firmware is BIOS/],
    ['with it on', secureBoot(1, 0), 'ok', /^Secure Boot is on/],
    ['with it off', secureBoot(0, 0), 'ok', /^Secure Boot is off/],
    ['that takes new keys, and starts anything until then', secureBoot(1, 1), 'ok', /^Secure Boot is off/],
  ])('%s: what it says of Secure Boot', (_, files, state, summary) => {
    const found = answer(check(host(files), '--json')).findings.find(({ code }) => code === 'secure-boot')
    expect(found).toMatchObject({ state, summary: expect.stringMatching(summary) })
  })

  it('whose log does not go back to the boot says so', () => {
    const { findings } = answer(check(host({ 'var/log/dmesg': '[ 9000.0] usb 1-1: new device\n' }), '--json'))
    expect(findings.find(({ code }) => code === 'interrupt-remapping')).toMatchObject({ state: 'unknown' })
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
