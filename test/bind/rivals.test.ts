// Settings that give a device to something else than the binding would, or keep the module from being loaded.
import { describe, expect, it } from 'vitest'
import { readJournal } from '../../lib/change/journal.ts'
import { checkBindStatus } from '../../lib/checks/binding-status.ts'
import { openMachine, readPciFacts } from '../../lib/host/machine.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { apply, bind, card, expectRan, system, undo } from '../support/bind.ts'
import { snapshotOf, systemDir, writeIn } from '../support/system.ts'

const ids = '10de:1cb6,10de:0fb9'
const grub = (line: string): Record<string, string> => ({
  'etc/default/grub': `GRUB_CMDLINE_LINUX_DEFAULT="quiet ${line}"\nGRUB_CMDLINE_LINUX=""\n`,
})

/** driverctl's files have an effect by its udev rule. */
const driverctl = { 'usr/lib/udev/rules.d/05-driverctl.rules': '' }

function expectRefused(dir: string, says: RegExp): void {
  const before = snapshotOf(dir)
  expectRan(bind(dir, card, '--apply', '--no-commands'), 2, says)
  expect(snapshotOf(dir)).toBe(before)
}

describe('a rival of the binding is named, with the line and what to do', () => {
  it.each<[string, Record<string, string>, RegExp]>([
    [
      'driverctl, with another driver',
      { ...driverctl, 'etc/driverctl.d/pci-0000:02:00.0': 'nouveau\n' },
      /\/etc\/driverctl\.d\/pci-0000:02:00\.0:1: driverctl gives 0000:02:00\.0 to nouveau \(driverctl unset-override 0000:02:00\.0 clears it\)/,
    ],
    [
      'driverctl, by its first versions, without a driver',
      { ...driverctl, 'etc/driverctl.d/0000:02:00.1': 'none' },
      /\/etc\/driverctl\.d\/0000:02:00\.1:1: driverctl gives 0000:02:00\.1 to none/,
    ],
    [
      'pci-stub on the kernel line',
      grub(`pci-stub.ids=8086:1533,${ids}`),
      /\/etc\/default\/grub:1: pci-stub takes 0000:02:00\.0, and vfio-pci does not get it: take 10de:1cb6 out of pci-stub\.ids=/,
    ],
    [
      'pci-stub in modprobe.d, a whole kind of board',
      { 'etc/modprobe.d/stub.conf': '# guide\noptions pci_stub ids=10DE:0FB9\n' },
      /\/etc\/modprobe\.d\/stub\.conf:2: pci-stub takes 0000:02:00\.1/,
    ],
    [
      'the name of the kernel command line in modprobe.d',
      { 'etc/modprobe.d/vfio.conf': `options vfio_pci vfio-pci.ids=${ids}\n` },
      /\/etc\/modprobe\.d\/vfio\.conf:1: vfio-pci\.ids=10de:1cb6,10de:0fb9 is no option of vfio-pci/,
    ],
    [
      "pci-stub in the initramfs's list",
      { 'etc/initramfs-tools/modules': `# mine\npci_stub ids=${ids}\n` },
      /\/etc\/initramfs-tools\/modules:2: pci-stub takes 0000:02:00\.0/,
    ],
    [
      'module_blacklist=, one of several',
      grub('module_blacklist=nouveau,vfio_pci'),
      /\/etc\/default\/grub:1: module_blacklist=nouveau,vfio_pci keeps vfio_pci out, whatever loads it/,
    ],
    ['module_blacklist= of a part', grub('module_blacklist=vfio_iommu_type1'), /keeps vfio_iommu_type1 out/],
  ])('%s', (_, files, says) => expectRefused(systemDir({ ...system, files }), says))

  it.each<[string, Record<string, string>]>([
    ['driverctl’s file without driverctl', { 'etc/driverctl.d/pci-0000:02:00.0': 'nouveau\n' }],
    ['driverctl for another device', { ...driverctl, 'etc/driverctl.d/pci-0000:03:00.0': 'nouveau\n' }],
    ['pci-stub for another device', grub('pci-stub.ids=8086:1533')],
    ['module_blacklist= of a host driver', grub('module_blacklist=nouveau')],
    ['a blacklist that initramfs-tools does not ask', { 'etc/modprobe.d/x.conf': 'blacklist vfio-pci\n' }],
    ['the same on the kernel line', grub('modprobe.blacklist=vfio_pci')],
  ])('not %s', (_, files) => expectRan(bind(systemDir({ ...system, files }), card), 1, /Nothing was written/))

  it('not module_blacklist= where vfio-pci is built in', () => {
    const builtin = ['vfio_pci', 'vfio', 'vfio_iommu_type1']
    const dir = systemDir({ ...system, builtin, files: grub('module_blacklist=vfio_pci') })
    expectRan(bind(dir, card), 1, /vfio-pci\.ids=10de:1cb6/)
  })

  it('a blacklist where only a program that obeys it loads the module: mkinitcpio’s init, and no softdep', () => {
    // A kernel without drivers for the card has nothing for a softdep to come before.
    const without = ['nouveau', 'nvidia', 'nvidia_drm', 'nvidiafb', 'snd_hda_intel']
    for (const line of ['blacklist vfio-pci\n', 'blacklist vfio_pci\n']) {
      const files = { 'etc/modprobe.d/x.conf': line }
      expectRefused(
        systemDir({ ...system, family: 'arch', files, without }),
        /0000:02:00\.0 would be on no driver after the boot.*x\.conf:1: blacklist vfio-pci: vfio_pci is not loaded/s,
      )
      expectRan(bind(systemDir({ ...system, family: 'arch', files }), card), 1, /02:00\.0 {2}vfio-pci/)
    }
  })
})

describe('a list of IDs', () => {
  it('that a later one holds whole loses nothing', () => {
    const files = {
      'etc/modprobe.d/a.conf': 'options vfio-pci ids=10de:1cb6\n',
      'etc/modprobe.d/b.conf': `options vfio-pci ids=8086:1533,${ids}\n`,
    }
    expectRan(bind(systemDir({ ...system, files }), card), 1, /Nothing was written/)
    expectRan(bind(systemDir({ ...system, files: grub(`vfio-pci.ids=10de:1CB6 vfio-pci.ids=${ids}`) }), card), 1)
  })

  it('of which IDs are lost is named', () => {
    const files = {
      'etc/modprobe.d/a.conf': `options vfio-pci ids=8086:1533,${ids}\n`,
      'etc/modprobe.d/b.conf': 'options vfio-pci ids=10de:1cb6\n',
    }
    expectRefused(systemDir({ ...system, files }), /a\.conf:1: has no effect: the last ids= wins/)
    expectRefused(
      systemDir({ ...system, files: grub(`vfio-pci.ids=${ids} vfio-pci.ids=10de:1cb6`) }),
      /grub:1: vfio-pci\.ids=\S+: a later vfio-pci\.ids replaces it/,
    )
  })
})

it('an undo names what driverctl keeps on vfio-pci', () => {
  const dir = systemDir(system)
  expectRan(apply(dir, card), 0)
  for (const [path, text] of Object.entries(driverctl)) writeIn(dir, path, text)
  writeIn(dir, 'etc/driverctl.d/pci-0000:02:00.0', 'vfio-pci\n')
  expectRan(
    undo(dir),
    0,
    /pci-0000:02:00\.0: driverctl keeps 0000:02:00\.0 on vfio-pci: driverctl unset-override 0000:02:00\.0 clears it/,
  )
})

it('--status does not take pci-stub for vfio-pci', async () => {
  const dir = systemDir(system)
  expectRan(apply(dir, card), 0)
  const files = openReader(dir)
  const state = async (driver: string): Promise<string[]> => {
    const devices = readPciFacts(openMachine({ root: dir }), () => {}).devices.map((one) => ({ ...one, driver }))
    const host = { files, machine: files, running: true, kernels: [] }
    const facts = {
      bootloader: undefined,
      initramfs: undefined,
      lookInto: async () => 'unknown',
      foreseen: async () => [],
      kernelLog: { log: null, logMissing: '' },
    }
    const status = await checkBindStatus({ ...facts, host, devices, journal: readJournal(files), boot: null })
    return status.findings.filter(({ code }) => code === 'drivers').map(({ summary }) => summary)
  }
  expect(await state('vfio-pci')).toEqual(['0000:02:00.0 is on vfio-pci', '0000:02:00.1 is on vfio-pci'])
  expect(await state('pci-stub')).toEqual([
    '0000:02:00.0 is on pci-stub, not on vfio-pci',
    '0000:02:00.1 is on pci-stub, not on vfio-pci',
  ])
})
