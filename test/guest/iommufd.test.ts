import { describe, expect, it } from 'vitest'
import { system, tune } from '../support/bind.ts'
import { addArc, domainHost, genDomain, patch } from '../support/domain.ts'
import { expectError } from '../support/expect.ts'
import { loadMachine } from '../support/machine.ts'
import { kernelConfig } from '../support/system.ts'
import { host } from '../support/tune.ts'

// The cards go through iommufd on request, and where the kernel has no VFIO groups.

/** A host whose running kernel has these symbols besides what every kernel has. */
function hostWith(symbols: Readonly<Record<string, string>>): string {
  return domainHost((machine) => {
    addArc(machine)
    machine.files = { ...machine.files, [`/boot/config-${machine.kernel}`]: kernelConfig(symbols) }
  })
}

const both = hostWith({ VFIO_DEVICE_CDEV: 'y' })
const cdevOnly = hostWith({ VFIO_DEVICE_CDEV: 'y', VFIO_GROUP: 'n' })
const groupsOnly = hostWith({ IOMMUFD: 'n' })
const old = hostWith({ IOMMUFD: 'n', VFIO_GROUP: 'n' })
const unknown = domainHost()

const linux = ['--name', 'x', '--guest', 'linux', '--gpu', '02:00']
const current = ['--libvirt', '12.2.0', '--qemu', '10.1.0']
const WHOLE = "<iommufd enabled='yes'/>"
const EACH = /<driver iommufd='yes'\/>/g
const eachIn = (text: string): number => [...text.matchAll(EACH)].length

describe('a new guest', () => {
  it.each([
    ['not asked, with groups', both, [], 0, 0],
    ['not asked, kernel not known', unknown, [], 0, 0],
    ['not asked, a kernel older than the symbols', old, [], 0, 0],
    ['asked', both, ['--iommufd'], 1, 0],
    ['asked, kernel not known', unknown, ['--iommufd'], 1, 0],
    ['no groups, asked', cdevOnly, ['--iommufd'], 1, 0],
  ] as const)('%s', (_, host, more, whole, each) => {
    const { stdout } = genDomain(host, ...linux, ...current, ...more)
    expect([stdout.split(WHOLE).length - 1, eachIn(stdout)]).toEqual([whole, each])
  })

  it('libvirt 12.1: each device by itself', () => {
    const { stdout } = genDomain(both, ...linux, '--iommufd', '--libvirt', '12.1.0', '--qemu', '10.1.0')
    expect([stdout.includes(WHOLE), eachIn(stdout)]).toEqual([false, 2])
  })

  it('an older libvirt: left out and said; refused where there is nothing else', () => {
    const { stdout, stderr } = genDomain(both, ...linux, '--iommufd')
    expect([stdout.includes(WHOLE), eachIn(stdout)]).toEqual([false, 0])
    expect(stderr).toContain(
      'iommufd (the cards go through VFIO groups) is left out: libvirt 9.0.0 is older than 12.1.0',
    )
    for (const versions of [[], current])
      expectError(genDomain(cdevOnly, ...linux, ...versions), 'libvirt starts no guest with devices', '--format qemu')
    expectError(genDomain(cdevOnly, ...linux, '--iommufd'), 'no VFIO groups (CONFIG_VFIO_GROUP)', 'libvirt 12.1.0')
    expect(genDomain(cdevOnly, ...linux, ...current, '--iommufd').stderr).toContain('libvirt starts no guest')
    expect(genDomain(cdevOnly, '--name', 'x', '--guest', 'linux').code).toBe(0)
  })

  it('QEMU alone: libvirt does not matter, QEMU does', () => {
    const qemu = ['--format', 'qemu', '--network', 'user', '--firmware', 'bios']
    const { stdout, stderr } = genDomain(cdevOnly, ...linux, ...qemu, '--qemu', '9.0.0')
    expect(stdout).toContain('-object iommufd,id=iommufd0')
    expect(stdout.match(/vfio-pci,host=\S+?,iommufd=iommufd0/g)).toHaveLength(2)
    expect(stderr).toContain('needs /dev/iommu and /dev/vfio/devices: tune-host --vfio-group kvm')
    expectError(genDomain(cdevOnly, ...linux, ...qemu, '--qemu', '8.2.0'), 'QEMU 9.0.0')
  })

  it('two cards: what DMA between them needs', () => {
    const two = genDomain(both, ...linux, '--gpu', '23:00', ...current, '--iommufd').stderr
    expect(two).toContain('peer to peer) goes through iommufd from Linux 6.19 on')
    expect(genDomain(both, ...linux, ...current, '--iommufd').stderr).not.toContain('6.19')
  })

  it('refused: without a card, and on a kernel without it', () => {
    expectError(
      genDomain(both, '--name', 'x', '--guest', 'linux', '--iommufd'),
      '--iommufd goes with --gpu, --pci or --vf',
    )
    expectError(genDomain(groupsOnly, ...linux, ...current, '--iommufd'), 'CONFIG_VFIO_DEVICE_CDEV')
  })
})

describe('people who start QEMU without being root', () => {
  it.each([
    ['groups', {}, ['SUBSYSTEM=="vfio"']],
    [
      'iommufd too',
      { VFIO_DEVICE_CDEV: 'y' },
      ['SUBSYSTEM=="vfio"', 'SUBSYSTEM=="vfio-dev"', 'SUBSYSTEM=="misc", KERNEL=="iommu"'],
    ],
  ])('get each node that a kernel with %s has', (_, symbols, nodes) => {
    const { kernel } = loadMachine(system.machine)
    const dir = host({ [`boot/config-${kernel}`]: kernelConfig(symbols) })
    const { stdout } = tune(dir, '--vfio-group', 'root')
    const rules = [...stdout.matchAll(/(SUBSYSTEM==.*), GROUP="root", MODE="0660"/g)].map(([, match]) => match)
    expect(rules).toEqual(nodes)
  })
})

describe('a patch', () => {
  const domain = genDomain(both, ...linux, ...current).stdout

  it('names the device, whether the domain has it or not, and nothing twice', () => {
    const asked = ['--gpu', '02:00', '--iommufd', ...current]
    const once = patch(both, domain, ...asked).stdout
    expect([once.includes(WHOLE), eachIn(once)]).toEqual([false, 2])
    expect(patch(both, once, ...asked).stdout).toBe(once)
    const added = patch(both, domain, '--gpu', '23:00', '--iommufd', ...current).stdout
    expect(eachIn(added)).toBe(2)
    expect(added).toMatch(/<driver iommufd='yes'\/>\s*<source>\s*<address domain='0x0000' bus='0x23'/)
  })

  it('keeps what a driver element says besides', () => {
    const named = domain.replace(/(<hostdev .*)\n/, "$1\n      <driver name='vfio'/>\n")
    expect(patch(both, named, '--gpu', '02:00', '--iommufd', ...current).stdout).toMatch(
      /<driver name='vfio' iommufd='yes'\/>/,
    )
  })

  it('goes with --pci as well', () => {
    expectError(patch(both, domain, '--iommufd'), '--iommufd goes with --gpu')
    expect(patch(both, domain, '--pci', '02:00', '--iommufd', ...current).code).toBe(0)
  })
})
