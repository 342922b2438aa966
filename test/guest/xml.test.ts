import semver from 'semver'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  addCards,
  domainHost,
  genDomain,
  golden,
  invalid,
  LIBVIRTD,
  readGolden,
  startLibvirt,
  VALIDATOR,
} from '../support/domain.ts'
import { GUESTS } from '../support/guests.ts'
import { machineDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, runProgram } from '../support/run.ts'

const host = domainHost(addCards)

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
