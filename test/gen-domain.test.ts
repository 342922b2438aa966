import semver from 'semver'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { domainHost, genDomain, golden, invalid, LIBVIRTD, readGolden, startLibvirt, VALIDATOR } from './domain.ts'
import { machineDir } from './machine.ts'
import { needs } from './needs.ts'
import { has, runProgram } from './run.ts'

const IMAGES = '/var/lib/libvirt/images'
const card = ['--gpu', '02:00']
const disk = ['--disk', `${IMAGES}/guest.qcow2`]
const install = [...disk, '--iso', `${IMAGES}/windows.iso`]
const drivers = ['--virtio-iso', `${IMAGES}/virtio-win.iso`]

/** Golden file → arguments. `libvirt`: what writes this is newer than the schemas of most distributions. */
const GUESTS: Record<string, { args: string[]; libvirt?: string }> = {
  windows11: { args: ['--guest', 'windows11', ...card, ...install, ...drivers, '--memory', '16G'] },
  windows10: {
    args: ['--guest', 'windows10', ...card, '--disk', '/dev/sdb', ...drivers, '--iso', `${IMAGES}/windows.iso`],
  },
  'windows10-no-drivers': { args: ['--guest', 'windows10', ...install] },
  windows8: { args: ['--guest', 'windows8', ...card, ...install, ...drivers] },
  windows7: { args: ['--guest', 'windows7', ...card, ...install] },
  linux: { args: ['--guest', 'linux', ...card, ...disk] },
  headless: { args: ['--guest', 'windows11', ...card, ...install, ...drivers, '--headless'] },
  i440fx: { args: ['--guest', 'windows10', ...card, ...disk, '--chipset', 'i440fx', '--pci', '00:08.0'] },
  'bios-x-vga': {
    args: ['--guest', 'windows7', ...card, ...disk, '--x-vga', '--rom', `${IMAGES}/card.rom`, '--headless'],
  },
  'old-nvidia': { args: ['--guest', 'windows10', ...card, ...disk, '--nvidia-driver', '430', '--headless'] },
  'hidden-by-name': { args: ['--guest', 'windows10', ...card, '--hide-kvm', '--vendor-id', 'Some One', '--headless'] },
  'libvirt-4.0': { args: ['--guest', 'windows10', ...card, ...disk, '--libvirt', '4.0.0', '--qemu', '2.11'] },
  'libvirt-1.2': {
    args: [
      '--guest',
      'windows8',
      ...card,
      ...disk,
      '--libvirt',
      '1.2.7',
      '--qemu',
      '2.0',
      '--hide-kvm',
      '--cpu',
      'core2duo',
    ],
  },
  loader: { args: ['--guest', 'linux', ...disk, '--loader', '/usr/share/OVMF/OVMF_CODE_4M.fd'] },
  networks: {
    args: [
      ...['--guest', 'linux', '--network', 'bridge:br0', '--network', 'macvtap:enp4s0', '--network', 'tap:tap0'],
      ...['--network', 'user', '--nic-model', 'e1000e', '--mac', '52:54:00:12:34:56'],
    ],
  },
  usb: { args: ['--guest', 'linux', '--usb', '1-1', '--usb', '1234:5678', '--usb', '1-3', '--network', 'none'] },
  optical: { args: ['--guest', 'windows10', '--disk', '/dev/sdb', '--disk-bus', 'scsi', '--optical', '/dev/sr0'] },
  'looking-glass': {
    args: [
      ...['--guest', 'windows11', ...card, ...disk, '--headless', '--looking-glass', '2560x1440'],
      ...['--evdev', '/dev/input/by-id/a-event-kbd', '--evdev', '/dev/input/by-id/b-event-mouse'],
    ],
  },
  sound: { args: ['--guest', 'linux', ...disk, '--headless', '--audio', 'pulseaudio', '--audio-user', 'ada'] },
  pipewire: {
    args: ['--guest', 'linux', '--audio', 'pipewire', '--libvirt', '10.0.0', '--qemu', '8.2'],
    libvirt: '9.10.0',
  },
  'share-hugepages': {
    args: [
      '--guest',
      'linux',
      ...disk,
      '--share',
      '/srv/games:games',
      '--share',
      '/home',
      '--hugepages',
      '1G',
      '--memory',
      '8G',
    ],
  },
  pinned: { args: ['--guest', 'windows11', ...card, ...disk, '--vcpus', '8', '--prefer', 'cache'] },
  'one-thread': { args: ['--guest', 'linux', '--cores', '3', '--one-thread', ...disk] },
}

const host = domainHost()

describe('gen-domain', () => {
  it.each(Object.entries(GUESTS))('%s', async (name, { args }) => {
    const ran = genDomain(host, '--name', name, ...args)
    expect([ran.code, ran.stderr.replace(/^gen-domain: because: .*\n/gm, '')]).toMatchObject([0, expect.any(String)])
    await expect(ran.stdout).toMatchFileSnapshot(golden(name))
  })
})

/** Is this libvirt too old to know what a golden file says? */
const tooOld = (needs: string | undefined): boolean =>
  needs !== undefined && semver.lt(runProgram('virsh', ['--version']).stdout.trim(), needs)

needs('virt-xml-validate', VALIDATOR).describe("libvirt's schemas", () => {
  it.each(Object.entries(GUESTS))('%s is valid', (name, { libvirt }) => {
    if (!tooOld(libvirt)) expect(invalid(readGolden(name))).toBe('')
  })

  it('would refuse what is not', () => {
    expect(invalid(readGolden('linux').replace('<vcpu ', '<vpcu '))).not.toBe('')
  })
})

needs('libvirtd, virsh and QEMU', LIBVIRTD).describe('libvirtd', () => {
  let libvirt: Awaited<ReturnType<typeof startLibvirt>>
  beforeAll(async () => {
    libvirt = await startLibvirt()
  }, 120_000)
  afterAll(() => libvirt.stop())

  it.each(Object.entries(GUESTS))('%s is accepted', (name, { libvirt: needs }) => {
    if (tooOld(needs)) return
    // A session daemon takes no virtiofs before 10.0.
    const domain = readGolden(name).replace(/<filesystem[\s\S]*?<\/filesystem>/g, '')
    const { error, xml } = libvirt.define(domain)
    expect(error).toBe('')
    expect(xml).toContain(`<name>${name}</name>`)
  })

  const small = ['--network', 'user', '--memory', '256M']
  it.each([
    [
      'windows11',
      ['--guest', 'windows11', '--headless', '--looking-glass', '1280x720'],
      /OVMF_CODE\S*(ms|secboot)[\s\S]*tpm-crb/,
      'swtpm',
    ],
    ['windows10', ['--guest', 'windows10'], /OVMF_CODE/, ''],
    ['windows7', ['--guest', 'windows7'], /ich9-usb-uhci/, ''],
    ['linux', ['--guest', 'linux', '--chipset', 'i440fx', '--firmware', 'bios', '--disk-bus', 'scsi'], /pc-i440fx/, ''],
  ] as const)('%s starts, emulated', (name, args, holds, needs) => {
    if (needs !== '' && !has(needs)) return
    const { error, args: argv } = libvirt.start(genDomain(host, '--name', name, ...args, ...small).stdout)
    expect(error).toBe('')
    expect(argv).toMatch(holds)
  })

  it('gives virtual functions a root port each', () => {
    const vfs = ['--guest', 'linux', '--pci', '3b:02.0', '--pci', '3b:02.1', '--memory', '1G']
    const { error, xml } = libvirt.define(genDomain(machineDir('sriov-nic'), '--name', 'vfs', ...vfs).stdout)
    expect(error).toBe('')
    expect(xml.match(/ua-vfio-port-0000-3b-02-\d/g)).toEqual(['ua-vfio-port-0000-3b-02-0', 'ua-vfio-port-0000-3b-02-1'])
  })

  it('keeps the functions of the card on one slot, behind the root port that is marked as ours', () => {
    const { xml } = libvirt.define(readGolden('windows11'))
    const slots = [
      ...xml.matchAll(/<\/source>\s*<address type='pci' domain='0x0000' bus='(\w+)' slot='(\w+)' function='(\w+)'/g),
    ]
    expect(slots.map(([, bus, slot, fn]) => [bus, slot, fn])).toEqual([
      ['0x01', '0x00', '0x0'],
      ['0x01', '0x00', '0x1'],
    ])
    expect(xml).toMatch(
      /<controller type='pci' index='1' model='pcie-root-port'>[\s\S]*?<alias name='ua-vfio-port-0000-02-00-0'\/>/,
    )
  })
})
