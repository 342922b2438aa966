import { describe, expect, it } from 'vitest'
import { type ModprobeFile, parseModprobe } from '../../lib/edit/modprobe.ts'
import type { Kernel } from '../../lib/host/installed-kernels.ts'
import type { PciDevice } from '../../lib/host/pci.ts'
import type { MachineNow } from '../../lib/predict/answers.ts'
import { type Boot, type Prediction, predictBoot } from '../../lib/predict/predict.ts'
import type { BootStage, BootStep, LoadStep } from '../../lib/system/boot.ts'
import { bootScriptFunction } from '../../lib/system/boot-script.ts'

// A machine with two equal graphics cards' worth of cases, a network card, a drive, a USB controller and a bridge.

function device(address: string, id: string, type: string, driver: string | null, modules: string[]): PciDevice {
  const [vendor = '', product = ''] = id.split(':')
  return {
    address: `0000:${address}`,
    class: { id: type.slice(0, 4), progIf: type.slice(4), name: null },
    vendor: { id: vendor, name: null },
    device: { id: product, name: null },
    subsystem: { vendor: '1462', device: '397d' },
    revision: 'a1',
    driver,
    modules,
    bridge: type.startsWith('0604'),
    bootVga: null,
    numaNode: null,
    parent: null,
    reset: { supported: true, methods: null },
    physicalFunction: null,
    group: Number.parseInt(address.slice(0, 2), 16) + 10,
    path: `/sys/devices/pci0000:00/0000:${address}`,
  }
}

const gpu = device('01:00.0', '10de:1c03', '030000', 'nouveau', ['nouveau'])
const sound = device('01:00.1', '10de:10f1', '040300', 'snd_hda_intel', ['snd_hda_intel'])
const nic = device('02:00.0', '8086:10d3', '020000', 'e1000e', ['e1000e'])
const twin = device('03:00.0', '8086:10d3', '020000', 'e1000e', ['e1000e'])
const usb = device('04:00.0', '1912:0014', '0c0330', 'xhci_hcd', ['xhci_pci'])
const port = device('00:01.0', '8086:1901', '060400', 'pcieport', ['shpchp'])
const all = [gpu, sound, nic, twin, usb, port]

const MODULES = ['vfio_pci', 'nouveau', 'snd_hda_intel', 'e1000e', 'xhci_pci', 'shpchp', 'pci_stub', 'nvidia']

function kernelWith(builtin: readonly string[] = [], version = '6.1.0'): Kernel {
  return {
    release: version,
    version,
    provides: (module) => {
      const name = module.replaceAll('-', '_')
      return builtin.includes(name) ? 'builtin' : MODULES.includes(name) ? 'module' : 'absent'
    },
    builtinOrder: (module) => builtin.indexOf(module),
    dependencies: () => [],
    config: () => null,
  }
}

interface Case {
  devices?: readonly PciDevice[]
  kernel?: Kernel
  line?: string
  /** modprobe.d of the root file system and of the initramfs. */
  modprobe?: string
  /** modprobe.d of the initramfs, where that is another. */
  inImage?: string
  early?: readonly BootStep[]
  modules?: readonly string[] | null
  busybox?: boolean
  initramfs?: Boot['initramfs']
  beside?: readonly LoadStep[]
  rootFirst?: readonly BootStep[]
  loaded?: readonly string[]
  release?: string
  iommu?: MachineNow['iommu']
}

const load = (module: string, more: Partial<LoadStep> = {}): LoadStep => {
  return { kind: 'load', module, options: '', obeysBlacklist: false, cause: `conf/modules: ${module}`, ...more }
}
const coldplug = (beside: readonly LoadStep[] = []): BootStep => ({ kind: 'coldplug', beside, cause: 'udev' })

function predict(given: Case): (address: string) => Prediction {
  const {
    devices = all,
    kernel = kernelWith(),
    line = '',
    modprobe = '',
    inImage = modprobe,
    modules = MODULES,
  } = given
  const parse = (text: string) => parseModprobe([{ path: '/etc/modprobe.d/vfio.conf', text } satisfies ModprobeFile])
  const initramfs: BootStage = {
    modprobe: parse(inImage),
    busybox: given.busybox ?? false,
    modules: modules === null ? null : new Set(modules),
    steps: given.early ?? [coldplug()],
  }
  const root: BootStage = {
    ...{ modprobe: parse(modprobe), busybox: false, modules: null },
    steps: [...(given.rootFirst ?? []), coldplug(given.beside)],
  }
  const now: MachineNow = {
    devices,
    loaded: new Set(given.loaded ?? ['nouveau', 'snd_hda_intel', 'e1000e', 'xhci_pci']),
    moduleOf: new Map([
      ...[['nouveau', 'nouveau'] as const, ['snd_hda_intel', 'snd_hda_intel'] as const, ['e1000e', 'e1000e'] as const],
      ...[['xhci_hcd', 'xhci_pci'] as const, ['pcieport', null] as const, ['vfio-pci', 'vfio_pci'] as const],
    ]),
    release: given.release ?? '6.1.0',
    iommu: given.iommu ?? { enabled: true, kind: 'intel' },
  }
  const boot: Boot = {
    ...{ kernel, root, line: { text: line, file: '/boot/grub/grub.cfg' } },
    initramfs: given.initramfs === undefined ? initramfs : given.initramfs,
    modules: new Map(devices.map((one) => [one, one.modules])),
  }
  const found = predictBoot(now, boot)
  return (address) => {
    const one = found.find((each) => each.address === `0000:${address}`)
    if (one === undefined) throw new Error(address)
    return one
  }
}

const IDS = 'options vfio-pci ids=10de:1c03,10de:10f1\n'
const SOFTDEPS = 'softdep nouveau pre: vfio-pci\nsoftdep snd_hda_intel pre: vfio-pci\n'

describe('a machine on which nothing is set up', () => {
  it('boots as it did', () => {
    const who = predict({})
    for (const one of all)
      expect(who(one.address.slice(5)), one.address).toMatchObject({ driver: one.driver, certainty: 'certain' })
  })

  it('has a device that no driver takes, though a module for it is loaded', () => {
    const idle = { ...nic, driver: null }
    expect(predict({ devices: [idle] })('02:00.0')).toMatchObject({ driver: null, certainty: 'certain' })
  })
})

describe('IDs in modprobe.d', () => {
  it('with a softdep come before the driver, and the line is named', () => {
    const who = predict({ modprobe: IDS + SOFTDEPS })
    for (const address of ['01:00.0', '01:00.1'])
      expect(who(address)).toMatchObject({
        driver: 'vfio-pci',
        certainty: 'certain',
        because: '/etc/modprobe.d/vfio.conf:1: options vfio-pci ids=10de:1c03,10de:10f1',
      })
    expect(who('02:00.0').driver).toBe('e1000e')
  })

  it('with the module loaded by name in front of udev need no softdep', () => {
    expect(predict({ modprobe: IDS, early: [load('vfio-pci'), coldplug()] })('01:00.0').driver).toBe('vfio-pci')
  })

  it('come too late where the image has the driver and loads vfio-pci behind udev', () => {
    const who = predict({ modprobe: IDS, early: [coldplug(), load('vfio-pci')] })('01:00.0')
    expect(who).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
    expect(who.without.join()).toMatch(/ids=10de:1c03,10de:10f1: another driver has it by then/)
  })

  it('are in time there where the image lacks the driver', () => {
    const early = [coldplug(), load('vfio-pci')]
    expect(predict({ modprobe: IDS, early, modules: ['vfio_pci'] })('01:00.0').driver).toBe('vfio-pci')
  })

  it('do nothing where nobody loads vfio-pci', () => {
    expect(predict({ modprobe: IDS })('01:00.0')).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
  })

  it('count as the image has them, where vfio-pci is loaded there', () => {
    const who = predict({ modprobe: IDS + SOFTDEPS, inImage: SOFTDEPS })('01:00.0')
    expect(who).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
  })

  it('take every device that they match: a twin, a vendor, a class', () => {
    const early = [load('vfio-pci'), coldplug()]
    const both = predict({ modprobe: 'options vfio-pci ids=8086:10d3\n', early })
    expect([both('02:00.0').driver, both('03:00.0').driver]).toEqual(['vfio-pci', 'vfio-pci'])
    const vendor = predict({ modprobe: 'options vfio-pci ids=10de:ffffffff:ffffffff:ffffffff:040000:ff0000\n', early })
    expect([vendor('01:00.0').driver, vendor('01:00.1').driver]).toEqual(['nouveau', 'vfio-pci'])
    const board = predict({ modprobe: 'options vfio-pci ids=8086:10d3:1462:0001\n', early })
    expect(board('02:00.0').driver).toBe('e1000e')
  })

  it('of several lists count by the last, and the lost one says so', () => {
    const modprobe = `${IDS}options vfio-pci ids=8086:10d3\n`
    const who = predict({ modprobe, early: [load('vfio-pci'), coldplug()] })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
    expect(who('01:00.0').without).toContain(
      '/etc/modprobe.d/vfio.conf:1: options vfio-pci ids=10de:1c03,10de:10f1: has no effect, since /etc/modprobe.d/vfio.conf:2: options vfio-pci ids=8086:10d3 comes later',
    )
  })

  it('with a typing error lose only that entry', () => {
    const modprobe = 'options vfio-pci ids=10de:icb6,10de:10f1\n'
    const who = predict({ modprobe, early: [load('vfio-pci'), coldplug()] })
    expect([who('01:00.0').driver, who('01:00.1').driver]).toEqual(['nouveau', 'vfio-pci'])
  })

  it('in a list of more than 1,023 characters keep the module from being loaded', () => {
    const modprobe = `options vfio-pci ids=10de:1c03,${'10de:0001,'.repeat(120)}10de:10f1\n`
    expect(predict({ modprobe, early: [load('vfio-pci'), coldplug()] })('01:00.0').driver).toBe('nouveau')
  })

  it('never take a bridge', () => {
    const modprobe = 'options vfio-pci ids=8086:ffffffff\n'
    const who = predict({ modprobe, early: [load('vfio-pci'), coldplug()] })
    expect(who('00:01.0')).toMatchObject({ driver: 'pcieport', certainty: 'certain' })
  })
})

describe('IDs on the command line', () => {
  const early = [load('vfio-pci'), coldplug()]

  it('win over those of modprobe.d', () => {
    const who = predict({ modprobe: IDS, line: 'quiet vfio-pci.ids=8086:10d3', early })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
    expect(who('02:00.0').because).toBe('/boot/grub/grub.cfg: vfio-pci.ids=8086:10d3')
  })

  it('are lost behind --, which is for init', () => {
    expect(predict({ line: 'quiet -- vfio-pci.ids=8086:10d3', early })('02:00.0').driver).toBe('e1000e')
  })

  it('free the card when they are empty', () => {
    expect(predict({ modprobe: IDS + SOFTDEPS, line: 'vfio-pci.ids=' })('01:00.0').driver).toBe('nouveau')
  })

  it('are read by modprobe of busybox with an underscore only', () => {
    const busybox = true
    expect(predict({ busybox, line: 'vfio-pci.ids=8086:10d3', early })('02:00.0').driver).toBe('e1000e')
    expect(predict({ busybox, line: 'vfio_pci.ids=8086:10d3', early })('02:00.0').driver).toBe('vfio-pci')
  })

  it('lose against options beside the name in the list of an initramfs, which come last', () => {
    const inline = [load('vfio_pci', { options: 'ids=8086:10d3' }), coldplug()]
    const who = predict({ modprobe: IDS, line: 'vfio-pci.ids=10de:1c03', early: inline })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
  })

  it('reach a driver that is built in, before loadable drivers and by its place before others', () => {
    const line = 'vfio-pci.ids=10de:1c03,1912:0014'
    const first = predict({ kernel: kernelWith(['vfio_pci', 'xhci_pci']), line })
    expect([first('01:00.0').driver, first('04:00.0').driver]).toEqual(['vfio-pci', 'vfio-pci'])
    const second = predict({ kernel: kernelWith(['xhci_pci', 'vfio_pci']), line })
    expect(second('04:00.0')).toMatchObject({ driver: 'xhci_hcd', certainty: 'certain' })
    expect(predict({ kernel: kernelWith(['vfio_pci']), modprobe: IDS + SOFTDEPS })('01:00.0').driver).toBe('nouveau')
  })

  it('give pci-stub what they name', () => {
    const early = [load('pci-stub'), load('vfio-pci'), coldplug()]
    const who = predict({ line: 'pci-stub.ids=10de:1c03 vfio-pci.ids=10de:1c03', early })('01:00.0')
    expect(who).toMatchObject({ driver: 'pci-stub', because: '/boot/grub/grub.cfg: pci-stub.ids=10de:1c03' })
  })
})

describe('a blacklist', () => {
  it('on the kernel itself stops a module everywhere', () => {
    const who = predict({
      ...{ modprobe: IDS + SOFTDEPS, line: 'module_blacklist=foo,vfio_pci', early: [load('vfio-pci'), coldplug()] },
    })('01:00.0')
    expect(who).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
    expect(who.without.join()).toMatch(/module_blacklist=foo,vfio_pci: vfio_pci is not loaded/)
  })

  it('on the kernel itself counts in its own names, and of several lists the last', () => {
    const early = [load('vfio-pci'), coldplug()]
    for (const line of ['module_blacklist=vfio-pci', 'module_blacklist=vfio_pci module_blacklist=foo'])
      expect(predict({ modprobe: IDS, line, early })('01:00.0').driver, line).toBe('vfio-pci')
  })

  it('in modprobe.d stops a program that obeys it, and no softdep', () => {
    const modprobe = `blacklist vfio-pci\n${IDS}`
    const obeys = [load('vfio-pci', { obeysBlacklist: true }), coldplug()]
    expect(predict({ modprobe, early: obeys })('01:00.0').driver).toBe('nouveau')
    expect(predict({ modprobe, early: [load('vfio-pci'), coldplug()] })('01:00.0').driver).toBe('vfio-pci')
    expect(predict({ modprobe: modprobe + SOFTDEPS })('01:00.0').driver).toBe('vfio-pci')
    expect(predict({ modprobe: IDS, line: 'modprobe.blacklist=vfio_pci', early: obeys })('01:00.0').driver).toBe(
      'nouveau',
    )
  })

  it('of a host driver leaves its device without one', () => {
    const who = predict({ modprobe: 'blacklist nouveau\n' })('01:00.0')
    expect(who).toMatchObject({ driver: null, certainty: 'certain' })
    expect(who.without).toContain('/etc/modprobe.d/vfio.conf:1: blacklist nouveau: nouveau is not loaded')
  })

  it('does nothing to what is built in', () => {
    const builtin = kernelWith(['xhci_pci'])
    expect(predict({ kernel: builtin, line: 'module_blacklist=xhci_pci' })('04:00.0').driver).toBe('xhci_hcd')
  })

  it('by install is one for everybody; a program there may do anything', () => {
    const early = [load('vfio-pci'), coldplug()]
    expect(predict({ modprobe: `install vfio-pci /bin/false\n${IDS}`, early })('01:00.0').driver).toBe('nouveau')
    const script = predict({ modprobe: `install vfio-pci /sbin/mine.sh\n${IDS}`, early })('01:00.0')
    expect(script).toMatchObject({ driver: 'vfio-pci', certainty: 'may-decline' })
  })
})

describe('what nothing orders', () => {
  it('is undecided, with both lines: a module beside udev and no softdep', () => {
    const who = predict({ modprobe: IDS, early: [], beside: [load('vfio-pci')] })
    expect(who('01:00.0')).toMatchObject({ driver: null, certainty: 'undecided' })
    expect(who('01:00.0').or.sort()).toEqual(['nouveau', 'vfio-pci'])
    expect(who('01:00.0').without.join('\n')).toMatch(/options vfio-pci ids.*\n.*nouveau/)
    expect(who('02:00.0').certainty).toBe('certain')
  })

  it('is decided by the softdep of one driver for its device only', () => {
    const modprobe = `${IDS}softdep nouveau pre: vfio-pci\n`
    const who = predict({ modprobe, early: [] })
    expect(who('01:00.0')).toMatchObject({ driver: 'vfio-pci', certainty: 'certain' })
    expect(who('01:00.1').certainty).toBe('undecided')
  })

  it('is decided by the order of the tables where two modules are for one device alone', () => {
    const free = { ...gpu, driver: 'vfio-pci', modules: ['nouveau', 'nvidia'] }
    expect(predict({ devices: [free] })('01:00.0')).toMatchObject({ driver: 'nouveau', or: ['nvidia', 'no driver'] })
  })
})

describe('probe', () => {
  it('is declined without an IOMMU', () => {
    const bare = all.map((one) => ({ ...one, group: null }))
    const off = { modprobe: IDS + SOFTDEPS, devices: bare, iommu: { enabled: false, kind: null } } as const
    expect(predict(off)('01:00.0')).toMatchObject({ driver: 'nouveau' })
    expect(predict({ ...off, line: 'intel_iommu=on' })('01:00.0')).toMatchObject({
      driver: 'vfio-pci',
      certainty: 'may-decline',
    })
    expect(predict({ modprobe: IDS + SOFTDEPS, line: 'intel_iommu=off' })('01:00.0').driver).toBe('nouveau')
  })

  it('may be declined by a driver that does not know every chip, unless it has the device in this very kernel', () => {
    const free = { ...gpu, driver: 'vfio-pci' }
    expect(predict({ devices: [free], loaded: [] })('01:00.0')).toMatchObject({
      driver: 'nouveau',
      certainty: 'may-decline',
      or: ['no driver'],
    })
    expect(predict({ devices: [gpu] })('01:00.0').certainty).toBe('certain')
    expect(predict({ devices: [gpu], release: '6.0.0' })('01:00.0').certainty).toBe('may-decline')
  })

  it('is declined by displays under nomodeset', () => {
    expect(predict({ line: 'nomodeset' })('01:00.0')).toMatchObject({ driver: null, certainty: 'certain' })
  })

  it('is declined by vfio-pci for what is on its own list', () => {
    const qat = device('05:00.0', '8086:37c8', '0b4000', 'c6xx', ['c6xx'])
    const modprobe = 'options vfio-pci ids=8086:37c8\n'
    const early = [load('vfio-pci'), coldplug()]
    expect(predict({ devices: [{ ...qat, driver: null }], modprobe, early })('05:00.0').driver).not.toBe('vfio-pci')
    const permitted = { modprobe, early, line: 'vfio-pci.disable_denylist=1' }
    expect(predict({ devices: [qat], ...permitted })('05:00.0').driver).toBe('vfio-pci')
  })
})

describe('the boot script', () => {
  const script = (functions: readonly string[]): BootStep => ({ kind: 'boot-script', functions, cause: 'the script' })
  const early = (...functions: PciDevice[]) => [script(functions.map(bootScriptFunction)), coldplug()]

  it('takes one of two twins', () => {
    const who = predict({ early: early(nic) })
    expect(who('02:00.0')).toMatchObject({ driver: 'vfio-pci', because: 'the script' })
    expect(who('03:00.0').driver).toBe('e1000e')
  })

  it('loads vfio-pci with the IDs that stand in modprobe.d, and those take the twin', () => {
    const who = predict({ early: early(nic), modprobe: 'options vfio-pci ids=8086:10d3\n' })
    expect(who('03:00.0').driver).toBe('vfio-pci')
  })

  it('takes from a driver that is built in, and from one that was earlier', () => {
    expect(predict({ kernel: kernelWith(['xhci_pci']), early: early(usb) })('04:00.0').driver).toBe('vfio-pci')
    expect(predict({ early: [], rootFirst: early(nic).slice(0, 1) })('02:00.0').driver).toBe('vfio-pci')
  })

  it('is skipped by its argument, and does nothing without vfio-pci', () => {
    expect(predict({ early: early(nic), line: 'vfio_scripts.override=off' })('02:00.0').driver).toBe('e1000e')
    expect(predict({ early: early(nic), line: 'module_blacklist=vfio_pci' })('02:00.0').driver).toBe('e1000e')
  })

  it('leaves what is another device now, and with it the rest of its slot', () => {
    const moved = [script([bootScriptFunction(gpu), bootScriptFunction(sound).replace('10f1', '10f2')]), coldplug()]
    const who = predict({ early: [...moved, ...early(nic)] })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
  })
})

describe('what cannot be told', () => {
  const likely: BootStage = { modprobe: [], busybox: false, modules: null, steps: [coldplug()] }

  it('is undecided only where it matters what an image holds', () => {
    const initramfs = { why: '/boot/initrd.img: may not be read', likely }
    const who = predict({ initramfs, modprobe: IDS + SOFTDEPS })
    expect(who('01:00.0')).toMatchObject({ certainty: 'undecided', because: '/boot/initrd.img: may not be read' })
    expect(who('01:00.0').or.sort()).toEqual(['nouveau', 'vfio-pci'])
    expect(who('02:00.0')).toMatchObject({ driver: 'e1000e', certainty: 'certain' })
  })

  it('is what a program that nobody knows does to the devices that it names', () => {
    const unknown: BootStep = { kind: 'unknown-script', addresses: ['0000:02:00.0'], cause: '/etc/x.sh' }
    const who = predict({ early: [unknown, coldplug()] })
    expect(who('02:00.0')).toMatchObject({ certainty: 'undecided' })
    expect(who('02:00.0').or.sort()).toEqual(['e1000e', 'vfio-pci'])
    expect(who('03:00.0').certainty).toBe('certain')
  })
})

describe("driverctl's override", () => {
  it('takes the device from the driver that had it', () => {
    const step: BootStep = {
      kind: 'override',
      address: '0000:02:00.0',
      driver: 'vfio-pci',
      cause: '/etc/driverctl.d/x',
    }
    const who = predict({ early: [coldplug(), step] })
    expect([who('02:00.0').driver, who('03:00.0').driver]).toEqual(['vfio-pci', 'e1000e'])
  })
})

describe('the console', () => {
  it('goes dark on a VGA display that vfio-pci takes, since Linux 6.0', () => {
    expect(predict({ modprobe: IDS + SOFTDEPS })('01:00.0').darkens).toBe(true)
    expect(predict({ modprobe: IDS + SOFTDEPS })('01:00.1').darkens).toBe(false)
    expect(predict({ modprobe: IDS + SOFTDEPS, kernel: kernelWith([], '5.15.0') })('01:00.0').darkens).toBe(false)
  })
})
