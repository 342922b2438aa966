import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addCards, addIgd, domainHost, genDomain, patch, readGolden } from '../support/domain.ts'
import { expectError } from '../support/expect.ts'
import { addFiles } from '../support/fake/host.ts'
import { CHANGES, emulated, Libvirt, lacking } from '../support/libvirt.ts'
import { currentRoot } from '../support/libvirt-root.ts'
import type { Machine } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { romOf } from '../support/rom.ts'
import { type Ran, runProgram, runScript } from '../support/run.ts'
import { kernelConfig } from '../support/system.ts'

// Intel's integrated GPU: at 00:02.0 of the guest, in QEMU's legacy mode or with a ROM that does what OVMF does not.

const IMAGES = '/var/lib/libvirt/images'
const withGpu = (id?: string, change: (machine: Machine) => void = () => {}, kind?: string): string =>
  domainHost((machine) => {
    addCards(machine)
    addIgd(machine, id, kind)
    change(machine)
  })
const host = withGpu()
const igd = ['--name', 'x', '--guest', 'linux', '--gpu', '00:02.0']
const legacy = [...igd, '--firmware', 'bios', '--chipset', 'i440fx', '--headless']
const vbios = ['--rom', `${IMAGES}/vbios.rom`]
const uefi = [...igd, '--rom', `${IMAGES}/igd.rom`]

const PLACE = "<address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>"
const propertiesIn = (xml: string): string[] =>
  [...xml.matchAll(/<qemu:property name='(\S+)' type='(\S+)' value='(\S+)'/g)].map((found) => found.slice(1).join(' '))

describe('properties', () => {
  it('are those of the QEMU that is named: older ones have the legacy mode and the bridge by themselves', () => {
    const old = propertiesIn(genDomain(host, ...legacy, ...vbios).stdout)
    expect(old).toEqual(['x-igd-opregion bool true', 'x-vga bool true'])
    const recent = propertiesIn(genDomain(host, ...legacy, ...vbios, '--qemu', '10.1.0').stdout)
    expect(recent).toEqual([
      'x-igd-opregion bool true',
      'x-igd-legacy-mode string on',
      'x-igd-lpc bool true',
      'x-vga bool true',
    ])
  })

  it('x-igd-lpc is of the legacy mode alone', () => {
    const properties = propertiesIn(genDomain(host, ...uefi, '--qemu', '10.1.0').stdout)
    expect(properties).toEqual(['x-igd-opregion bool true', 'x-igd-legacy-mode string off'])
  })

  it('are what this QEMU says of itself, with its types', () => {
    const help = '  x-igd-opregion=<OnOffAuto> - on/off\n  x-igd-lpc=<str>\n  x-vga=<bool>           - on/off\n'
    const told = withGpu('3e98', (machine) => addFiles(machine, { '/run/vfio-scripts/vfio-pci-help.txt': help }))
    const ran = runAsIs(told, ...legacy, ...vbios)
    expect(propertiesIn(ran.stdout)).toEqual(['x-igd-opregion string on', 'x-igd-lpc string on', 'x-vga bool true'])
  })

  it('a QEMU that was built without them is refused', () => {
    const told = withGpu('3e98', (machine) =>
      addFiles(machine, { '/run/vfio-scripts/vfio-pci-help.txt': '  x-vga=<bool>\n' }),
    )
    expectError(runAsIs(told, ...uefi), 'this QEMU has no x-igd-opregion')
  })

  it('libvirt before 8.2 sets them by -set', () => {
    const { stdout } = genDomain(host, ...uefi, '--libvirt', '7.0.0')
    expect(stdout).toMatch(/'-set'\/>\s*<qemu:arg value='device.ua-vfio-igd.x-igd-opregion=on'/)
    expect(stdout).not.toContain('qemu:override')
  })
})

/** gen-domain without a version of QEMU, which would be another one than the machine's. */
const runAsIs = (dir: string, ...args: string[]): Ran =>
  runScript('gen-domain', ['--root', dir, '--libvirt', '9.0.0', ...args])

describe('place', () => {
  it.each([
    ['legacy', [...legacy, ...vbios]],
    ['UEFI', uefi],
    ['UEFI, i440fx', [...uefi, '--chipset', 'i440fx']],
    ['named by --pci', ['--name', 'x', '--guest', 'linux', '--pci', '00:02.0', '--rom', `${IMAGES}/igd.rom`]],
  ])('%s: 00:02.0, behind no root port', (_, args) => {
    const { stdout } = genDomain(host, ...args)
    expect(stdout.split(PLACE)).toHaveLength(2)
    expect(stdout).not.toContain('ua-vfio-port')
  })

  it('the ROM is its own, where there is another card', () => {
    const { stdout } = genDomain(host, ...uefi, '--gpu', '02:00')
    expect(stdout.match(/<rom /g)).toHaveLength(1)
    expect(stdout).toMatch(/<alias name='ua-vfio-igd'\/>\s*<rom file/)
    expect(stdout).toContain('ua-vfio-port-0000-02-00-0')
  })

  it('goes through iommufd as the others do', () => {
    const versions = ['--libvirt', '12.1.0', '--qemu', '10.1.0']
    const { stdout } = genDomain(host, ...uefi, '--iommufd', ...versions)
    expect(stdout.match(/<driver iommufd='yes'\/>/g)).toHaveLength(1)
    const qemu = genDomain(host, ...uefi, '--iommufd', '--format', 'qemu', '--qemu', '10.1.0').stdout
    expect(qemu).toMatch(/-object iommufd,id=iommufd0/)
    expect(qemu).toMatch(/vfio-pci,host=0000:00:02.0,bus=pcie.0,addr=0x2,iommufd=iommufd0,x-igd-opregion=on/)
  })

  it('a virtual function of it, and a card of Intel’s, are ordinary devices', () => {
    const { stdout } = genDomain(host, '--name', 'x', '--guest', 'linux', '--gpu', '23:00')
    expect([stdout.includes('ua-vfio-igd'), stdout.includes('ua-vfio-port-0000-23-00-0')]).toEqual([false, true])
  })
})

describe('refused', () => {
  it.each<[string, string[], string[], string?]>([
    ['UEFI without a ROM', igd, ['OVMF sets up no OpRegion', 'IgdAssignmentDxe', '-i 0x3e98']],
    ['a ROM for a BIOS', [...igd, ...vbios], ['holds no UEFI image', 'IgdAssignmentDxe']],
    ['a BIOS on q35', [...igd, '--firmware', 'bios', '--headless'], ['needs --chipset i440fx']],
    ['other graphics', legacy.filter((word) => word !== '--headless'), ['only graphics', '--headless']],
    ['another card', [...legacy, ...vbios, '--gpu', '02:00'], ['only graphics', '0000:02:00.0']],
    ['no VBIOS', legacy, ['VBIOS', '--rom FILE']],
    ['a ROM for UEFI under a BIOS', [...legacy, '--rom', `${IMAGES}/igd.rom`], ['no image for a BIOS']],
    ['generation 12', [...legacy, ...vbios], ['8086:a780 is not of generation 6 to 9'], 'a780'],
  ])('%s', (_, args, says, id) => {
    expectError(genDomain(id === undefined ? host : withGpu(id), ...args), ...says)
  })

  it('one that is no VGA controller: in legacy mode; else it is said', () => {
    const second = withGpu('3e98', () => {}, '038000')
    expectError(genDomain(second, ...legacy, ...vbios), 'is no VGA controller now', 'primary display')
    const ran = genDomain(second, ...uefi)
    expect([ran.code, ran.stderr]).toEqual([0, expect.stringContaining('primary display')])
  })

  it('a kernel that gives no OpRegion', () => {
    const kernel = (value: string) => (machine: Machine) =>
      addFiles(machine, { [`/boot/config-${machine.kernel}`]: kernelConfig({ VFIO_PCI_IGD: value }) })
    expectError(genDomain(withGpu('3e98', kernel('n')), ...uefi), 'CONFIG_VFIO_PCI_IGD')
    expect(genDomain(withGpu('3e98', kernel('y')), ...uefi).code).toBe(0)
  })

  it('into an existing domain', () => {
    expectError(patch(host, readGolden('linux'), '--gpu', '00:02.0'), 'make a new guest')
  })
})

it.each(['0152', '0412', '1616', '5a85', '9bc5'])('8086:%s has a VBIOS: generation 6 to 9', (id) => {
  expect(genDomain(withGpu(id), ...legacy, ...vbios).code).toBe(0)
})

it('a ROM that was made for another ID, and a QEMU that is too old for it, are said', () => {
  const { code, stderr } = genDomain(host, ...uefi)
  expect([code, stderr]).toEqual([0, expect.stringContaining('no stolen memory')])
  expect(stderr).not.toContain('is made for')
  const other = withGpu('a780', (machine) => addFiles(machine, { [`${IMAGES}/igd.rom`]: romOf(0x8086, 0x3e98, 3) }))
  expect(genDomain(other, ...uefi, '--qemu', '10.0.0').stderr).toContain('is made for 8086:3e98')
})

it('the VBIOS of a host that a BIOS started is in its memory', () => {
  const shadow = `${'0x0 0x0 0x0\n'.repeat(6)}0xc0000 0xdffff 0x212\n`
  const change = (efi: boolean) => (machine: Machine) => {
    const gpu = machine.devices['0000:00:02.0']
    if (gpu !== undefined) gpu.files = { resource: shadow }
    if (efi) addFiles(machine, { '/sys/firmware/efi/fw_platform_size': '64\n' })
  }
  const { code, stdout } = genDomain(withGpu('3e98', change(false)), ...legacy)
  expect([code, stdout.includes('<rom ')]).toEqual([0, false])
  expectError(genDomain(withGpu('3e98', change(true)), ...legacy), 'which UEFI started')
})

/** The argument for the integrated GPU of what libvirt would start, or of our own program. */
function deviceOf(words: string): string {
  const found = /-device '?(\{[^']*"vfio-pci"[^']*\}|vfio-pci,\S+)'?/.exec(words)?.[1] ?? ''
  expect(found).not.toBe('')
  return found
}

/** What QEMU in `root` says against a device: without the device itself, that it is not there. */
function saidOf(root: string, board: string, device: string): string {
  const words = ['-machine', `${board},accel=tcg`, '-nodefaults', '-display', 'none', '-S', '-device', device]
  return runProgram('chroot', [root, 'timeout', '20', 'qemu-system-x86_64', ...words]).stderr
}
const KEEPING_DEVICES = CHANGES.filter(([, , why]) => !/devices$|devices of the host/.test(why))
const ABSENT = /0000:00:02\.0: no (such host device|iommu_group found)/

const ROOTS = { 'this system': '/', 'a current one': currentRoot() }
describe.each(Object.entries(ROOTS))('libvirt and QEMU of %s', (_, root) => {
  const why = lacking(root)
  needs(why, why === '').describe('take it', () => {
    let libvirt: Libvirt
    beforeAll(async () => {
      libvirt = await Libvirt.open(root)
    }, 120_000)
    afterAll(() => libvirt.close())

    it.each([
      ['legacy', 'pc', [...legacy, ...vbios]],
      ['UEFI', 'q35', uefi],
    ] as const)('%s: libvirt passes the properties on, and QEMU knows them', (_, board, args) => {
      const own = ['--libvirt', libvirt.version(), '--qemu', libvirt.qemu()]
      const { stdout } = genDomain(host, ...args, ...own)
      // What older ones choose at the start alone.
      const chosen = stdout.replace(/(<hostdev .*managed='yes'>)/g, "$1<driver name='vfio'/>")
      libvirt.write('/tmp/igd.xml', emulated(chosen, KEEPING_DEVICES))
      const native = libvirt.virsh('domxml-to-native', 'qemu-argv', '/tmp/igd.xml')
      expect(native.stderr).toBe('')
      const device = deviceOf(native.stdout)
      for (const property of propertiesIn(stdout)) expect(device).toContain(property.split(' ')[0])
      expect(device).toMatch(/"addr":"0x2"/)
      const bus = board === 'pc' ? 'pci.0' : 'pcie.0'
      expect(device).toContain(`"bus":"${bus}"`)
      const bare = device.replace(/"(romfile|bootindex)":("[^"]*"|\d+),?/g, '').replace(',}', '}')
      expect(saidOf(root, board, bare)).toMatch(ABSENT)
      expect(saidOf(root, board, bare.replace('x-igd-opregion', 'x-igd-nothing'))).not.toMatch(ABSENT)
      const script = genDomain(host, ...args, '--network', 'user', '--format', 'qemu', ...own).stdout
      expect(saidOf(root, board, deviceOf(script).replace(/,romfile=\S+/, ''))).toMatch(ABSENT)
    })
  })
})
