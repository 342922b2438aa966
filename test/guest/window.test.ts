import { describe, expect, it } from 'vitest'
import { ovmfWindow } from '../../lib/guest/window.ts'
import { genDomain, largeCard, patch } from '../support/domain.ts'
import type { Ran } from '../support/run.ts'

// Large BARs: what OVMF has room for, and what the IOMMU reaches.

const linux = ['--name', 'x', '--guest', 'linux', '--gpu', '02:00']
const GIB = 2 ** 30
const host = (gib: number, cpu: number | null, iommu: number | null, ovmf: string | null): string =>
  largeCard(gib, { cpu, iommu, ovmf })

const NEW = '2022.11-6+deb12u2'
const OLD = '2020.11-2+deb11u2'

describe('the window of OVMF', () => {
  it.each([
    [202211, 39, 'intel', true, 64],
    [202211, 36, 'intel', true, 8],
    [202211, 46, 'intel', true, 8192],
    [202505, 52, 'intel', true, 8192],
    [202211, 46, 'intel', false, 128],
    [202211, 40, 'amd', true, 128],
    // QEMU's own default for a CPU of Intel's, and 39 bits of AMD: not believed.
    [202211, 40, 'intel', true, 32],
    [202211, 39, 'amd', true, 32],
    [202208, 46, 'intel', true, 32],
  ] as const)('edk2 %i, %i bits, %s, 1 GiB pages %s: %i GiB', (edk2, bits, vendor, gigabytePages, gib) => {
    expect(ovmfWindow(edk2, bits, { vendor, gigabytePages })).toBe(gib * GIB)
  })
})

describe('gen-domain', () => {
  /** What goes to QEMU itself. */
  const size = ({ stdout }: Ran): string | undefined => /X-PciMmio64Mb,string=(\d+)/.exec(stdout)?.[1]

  it.each<[string, number, number, string, string | undefined]>([
    ['a card of 32 GiB fits into the 64 of 39 bits', 32, 39, NEW, undefined],
    ['one of 64 GiB does not', 64, 39, NEW, '131072'],
    ['one of 128 GiB has room in 46 bits', 128, 46, NEW, undefined],
    ['before 202211 there are 32 GiB', 32, 46, OLD, '65536'],
    ['which hold 16', 16, 46, OLD, undefined],
  ])('%s', (_, gib, bits, ovmf, wanted) => {
    const ran = genDomain(host(gib, bits, null, ovmf), ...linux)
    expect([ran.code, size(ran)]).toEqual([0, wanted])
    expect(ran.stderr.includes('tainted')).toBe(wanted !== undefined)
    // libvirt keeps these names to itself.
    expect(ran.stdout).not.toContain('<sysinfo')
  })

  it('an unknown release: said, and nothing is written', () => {
    const ran = genDomain(host(64, 46, null, null), ...linux)
    expect([ran.code, size(ran)]).toEqual([0, undefined])
    expect(ran.stderr).toContain('what release of OVMF the guest will have is not known')
    expect(genDomain(host(16, 46, null, null), ...linux).stderr).not.toContain('OVMF')
  })

  it('a BIOS has no such window', () => {
    expect(size(genDomain(host(64, 39, null, NEW), ...linux, '--firmware', 'bios'))).toBeUndefined()
  })

  it('more than the address bits have room for is said', () => {
    expect(genDomain(host(256, 39, null, NEW), ...linux).stderr).toContain('more than 39 address bits have room for')
  })

  it.each([
    ['11.0.0', /<maxphysaddr mode='passthrough' limit='39'\/>/, false],
    ['9.0.0', /<qemu:arg value='-global'\/>\s*<qemu:arg value='host-x86_64-cpu\.host-phys-bits-limit=39'\/>/, true],
  ] as const)('an IOMMU narrower than the CPU, libvirt %s', (libvirt, wanted, taints) => {
    const narrow = host(16, 46, 39, NEW)
    const ran = genDomain(narrow, ...linux, '--libvirt', libvirt)
    expect(ran.stdout).toMatch(wanted)
    expect(ran.stderr.includes('tainted')).toBe(taints)
    // The room is that of the narrower guest.
    expect(size(genDomain(host(64, 46, 39, NEW), ...linux, '--libvirt', libvirt))).toBe('131072')
    const script = genDomain(narrow, ...linux, '--network', 'user', '--format', 'qemu').stdout
    expect(script).toContain('host-phys-bits-limit=39')
    expect(genDomain(narrow, '--name', 'x', '--guest', 'linux').stdout).not.toMatch(/maxphysaddr|phys-bits/)
  })

  it('one as wide changes nothing', () => {
    expect(genDomain(host(16, 39, 39, NEW), ...linux).stdout).not.toMatch(/maxphysaddr|phys-bits/)
    expect(genDomain(host(16, 39, 48, NEW), ...linux).stdout).not.toMatch(/maxphysaddr|phys-bits/)
  })

  it('a patch says what to add, in the form that libvirt takes, and nothing where it is there', () => {
    const domain = `<domain type='kvm'><name>x</name><memory unit='GiB'>4</memory>
  <os firmware='efi'><type machine='q35'>hvm</type></os>
  <cpu mode='host-passthrough'/>
  <devices>
  </devices>
</domain>`
    const narrow = host(64, 46, 39, NEW)
    const added = ['--gpu', '02:00', '--libvirt', '11.0.0']
    const ran = patch(narrow, domain, ...added)
    expect(ran.stderr).toContain("add by hand in <cpu>: <maxphysaddr mode='passthrough' limit='39'/>")
    expect(ran.stderr).toContain("<qemu:arg value='name=opt/ovmf/X-PciMmio64Mb,string=131072'/>")
    expect(ran.stderr).not.toContain('sysinfo')
    const there = domain.replace(
      "<cpu mode='host-passthrough'/>",
      "<cpu mode='host-passthrough'><maxphysaddr mode='passthrough' limit='39'/></cpu><!-- X-PciMmio64Mb -->",
    )
    expect(patch(narrow, there, ...added).stderr).not.toMatch(/maxphysaddr|X-PciMmio/)
    const bios = domain.replace(" firmware='efi'", '')
    expect(patch(narrow, bios, ...added).stderr).not.toContain('X-PciMmio')
  })
})
