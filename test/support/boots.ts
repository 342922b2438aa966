import { type ModprobeFile, parseModprobe } from '../../lib/edit/modprobe.ts'
import type { Kernel } from '../../lib/host/installed-kernels.ts'
import type { PciDevice } from '../../lib/host/pci.ts'
import { type Boot, type Prediction, predictBoot } from '../../lib/predict/predict.ts'
import type { MachineNow } from '../../lib/predict/probe-answers.ts'
import type { BootStage, BootStep, LoadStep } from '../../lib/system/boot.ts'

// Boots of a machine, made of parts, for tests of the prediction: a machine with two equal graphics cards' worth of cases, a network card, a drive, a USB controller and a bridge.

export function device(address: string, id: string, type: string, driver: string | null, modules: string[]): PciDevice {
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
    card: `0000:${address.slice(0, -2)}`,
    physicalFunction: null,
    group: Number.parseInt(address.slice(0, 2), 16) + 10,
    path: `/sys/devices/pci0000:00/0000:${address}`,
  }
}

export const gpu = device('01:00.0', '10de:1c03', '030000', 'nouveau', ['nouveau'])
export const sound = device('01:00.1', '10de:10f1', '040300', 'snd_hda_intel', ['snd_hda_intel'])
export const nic = device('02:00.0', '8086:10d3', '020000', 'e1000e', ['e1000e'])
const twin = device('03:00.0', '8086:10d3', '020000', 'e1000e', ['e1000e'])
export const usb = device('04:00.0', '1912:0014', '0c0330', 'xhci_hcd', ['xhci_pci'])
const port = device('00:01.0', '8086:1901', '060400', 'pcieport', ['shpchp'])
export const all = [gpu, sound, nic, twin, usb, port]

const MODULES = ['vfio_pci', 'nouveau', 'snd_hda_intel', 'e1000e', 'xhci_pci', 'shpchp', 'pci_stub', 'nvidia']

export function kernelWith(builtin: readonly string[] = [], version = '6.1.0'): Kernel {
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
  /** What the command line adds, in both stages. */
  adds?: Pick<BootStage, 'loadArguments' | 'blacklistArguments'>
  initramfs?: Boot['initramfs']
  beside?: readonly LoadStep[]
  rootFirst?: readonly BootStep[]
  loaded?: readonly string[]
  release?: string
  iommu?: MachineNow['iommu']
}

export const load = (module: string, more: Partial<LoadStep> = {}): LoadStep => {
  return { kind: 'load', module, options: '', obeysBlacklist: false, cause: `conf/modules: ${module}`, ...more }
}
export const coldplug = (beside: readonly LoadStep[] = []): BootStep => ({ kind: 'coldplug', beside, cause: 'udev' })

export function predict(given: Case): (address: string) => Prediction {
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
    ...given.adds,
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

export const IDS = 'options vfio-pci ids=10de:1c03,10de:10f1\n'
export const SOFTDEPS = 'softdep nouveau pre: vfio-pci\nsoftdep snd_hda_intel pre: vfio-pci\n'
