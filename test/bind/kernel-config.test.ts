import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { configLine, type KernelConfigFacts, kernelHints } from '../../lib/bind/kernel-config.ts'
import { DRIVER_SYMBOLS, KERNEL_SYMBOLS } from '../../lib/bind/kernel-symbols.ts'
import { bind } from '../support/bind.ts'
import { kernelConfig, type System, systemDir, writeIn } from '../support/system.ts'

const card = '02:00'
const release = '6.6.30-gentoo'
const config = `boot/config-${release}`

/** A Gentoo whose only kernel has this configuration; with initramfs-tools, so that there is a plan. */
function gentoo(symbols: Record<string, string> = {}, more: Partial<System> = {}): string {
  const images = Object.fromEntries((more.kernels ?? [release]).map((one) => [`boot/initrd.img-${one}`, 'initramfs']))
  const files = { [config]: kernelConfig(symbols, release), ...images, ...more.files }
  const base = { machine: 'i9-14900k-vmd', family: 'gentoo', kernels: [release], generator: 'initramfs-tools' } as const
  return systemDir({ ...base, ...more, files })
}

/** A Gentoo without an initramfs. */
function bare(symbols: Record<string, string>, builtin: readonly string[] = []): string {
  const files = { [config]: kernelConfig(symbols, release) }
  return systemDir({ machine: 'i9-14900k-vmd', family: 'gentoo', kernels: [release], builtin, files })
}

/** Hints for a configuration as text, on a host and for devices that need everything. */
function hints(symbols: Record<string, string>, change: Partial<KernelConfigFacts> = {}): string[] {
  const text = kernelConfig(symbols)
  const value = (symbol: string): string => new RegExp(`^CONFIG_${symbol}=(.*)$`, 'm').exec(text)?.[1] ?? 'n'
  const drivers = [{ module: 'nouveau', display: true, builtin: false }]
  const found = kernelHints({
    version: '6.12.1',
    symbolValue: value,
    cpu: 'intel',
    graphics: true,
    byAddress: false,
    drivers,
    ...change,
  })
  return found.map(({ need, symbol, have, want, command }) =>
    [need, symbol, `${have} → ${want}`, command?.join(' ')].join(' | '),
  )
}

describe('a configuration', () => {
  it('that has everything needs nothing, on either CPU', () => {
    expect(hints({})).toEqual([])
    expect(hints({ INTEL_IOMMU: 'n', KVM_INTEL: 'n', INTEL_IOMMU_DEFAULT_ON: 'n' }, { cpu: 'amd' })).toEqual([])
    expect(hints({ AMD_IOMMU: 'n', KVM_AMD: 'n' })).toEqual([])
    expect(hints({ VFIO: 'y', VFIO_PCI: 'y', KVM: 'y', TUN: 'y' })).toEqual([])
  })

  it.each([
    ['IOMMU_SUPPORT', 'required | CONFIG_IOMMU_SUPPORT | n → y | --enable IOMMU_SUPPORT'],
    ['INTEL_IOMMU', 'required | CONFIG_INTEL_IOMMU | n → y | --enable INTEL_IOMMU'],
    ['IRQ_REMAP', 'required | CONFIG_IRQ_REMAP | n → y | --enable IRQ_REMAP'],
    ['VFIO', 'required | CONFIG_VFIO | n → m or y | --module VFIO'],
    ['VFIO_GROUP', 'required | CONFIG_VFIO_GROUP | n → y | --enable VFIO_GROUP'],
    ['VFIO_CONTAINER', 'required | CONFIG_VFIO_CONTAINER | n → y | --enable VFIO_CONTAINER'],
    ['VFIO_IOMMU_TYPE1', 'required | CONFIG_VFIO_IOMMU_TYPE1 | n → m or y | --enable VFIO_CONTAINER'],
    ['VFIO_PCI', 'required | CONFIG_VFIO_PCI | n → m or y | --module VFIO_PCI'],
    ['KVM', 'required | CONFIG_KVM | n → m or y | --module KVM'],
    ['KVM_INTEL', 'required | CONFIG_KVM_INTEL | n → m or y | --module KVM_INTEL'],
    ['INTEL_IOMMU_DEFAULT_ON', 'useful | CONFIG_INTEL_IOMMU_DEFAULT_ON | n → y | --enable INTEL_IOMMU_DEFAULT_ON'],
    ['VFIO_PCI_VGA', 'useful | CONFIG_VFIO_PCI_VGA | n → y | --enable VFIO_PCI_VGA'],
    ['IOMMUFD', 'useful | CONFIG_IOMMUFD | n → m or y | --module IOMMUFD'],
    ['HUGETLBFS', 'useful | CONFIG_HUGETLBFS | n → y | --enable HUGETLBFS'],
    ['TUN', 'useful | CONFIG_TUN | n → m or y | --module TUN'],
    ['BRIDGE', 'useful | CONFIG_BRIDGE | n → m or y | --module BRIDGE'],
    ['VHOST_NET', 'useful | CONFIG_VHOST_NET | n → m or y | --module VHOST_NET'],
    ['PCI_QUIRKS', 'useful | CONFIG_PCI_QUIRKS | n → y | --enable PCI_QUIRKS'],
  ])('without %s lacks just that', (symbol, hint) => expect(hints({ [symbol]: 'n' })).toEqual([hint]))

  it('that leaves out the integrated GPU alone has its IOMMU on', () =>
    expect(hints({ INTEL_IOMMU_DEFAULT_ON: 'n', INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF: 'y' })).toEqual([]))

  it('on AMD lacks its own', () => {
    expect(hints({ AMD_IOMMU: 'n', KVM_AMD: 'n' }, { cpu: 'amd' })).toEqual([
      'required | CONFIG_AMD_IOMMU | n → y | --enable AMD_IOMMU',
      'required | CONFIG_KVM_AMD | n → m or y | --module KVM_AMD',
    ])
  })

  it('on a CPU that nobody knows is not asked for its symbols', () =>
    expect(hints({ AMD_IOMMU: 'n', KVM_AMD: 'n', INTEL_IOMMU: 'n', KVM_INTEL: 'n' }, { cpu: null })).toEqual([]))

  it('is asked for what its version has', () => {
    const none = { VFIO_VIRQFD: 'n', VFIO_GROUP: 'n', VFIO_CONTAINER: 'n', IOMMUFD: 'n' }
    expect(hints(none, { version: '6.1.90' })).toEqual([
      'required | CONFIG_VFIO_VIRQFD | n → m or y | --module VFIO_PCI',
    ])
    expect(hints(none, { version: '6.2.0' })).toEqual([
      'required | CONFIG_VFIO_CONTAINER | n → y | --enable VFIO_CONTAINER',
      'useful | CONFIG_IOMMUFD | n → m or y | --module IOMMUFD',
    ])
    expect(hints(none, { version: '6.6.30' })).toContain('required | CONFIG_VFIO_GROUP | n → y | --enable VFIO_GROUP')
    expect(hints({ VFIO_IOMMU_TYPE1: 'n' }, { version: '5.15.1' })).toEqual([
      'required | CONFIG_VFIO_IOMMU_TYPE1 | n → m or y | --module VFIO',
    ])
    expect(hints(none, { version: null })).toEqual([])
  })

  it('with IOMMUFD in their place can do without groups and containers', () =>
    expect(hints({ VFIO_GROUP: 'n', VFIO_CONTAINER: 'n', VFIO_DEVICE_CDEV: 'y' })).toEqual([
      'useful | CONFIG_VFIO_GROUP | n → y | --enable VFIO_GROUP',
      'useful | CONFIG_VFIO_CONTAINER | n → y | --enable VFIO_CONTAINER',
    ]))

  it('with a host driver built in is told which symbol that is', () => {
    const drivers = ['nouveau', 'snd_hda_intel', 'xhci_pci', 'my-driver', 'other_driver'].map((module) => ({
      module,
      display: module === 'nouveau',
      builtin: module === 'my-driver',
    }))
    expect(hints({ DRM_NOUVEAU: 'y', SND_HDA_INTEL: 'y', USB_XHCI_PCI: 'y' }, { drivers })).toEqual([
      'required | CONFIG_DRM_NOUVEAU | y → m or n | --module DRM_NOUVEAU',
      'useful | CONFIG_SND_HDA_INTEL | y → m or n | --module SND_HDA_INTEL',
      'useful | CONFIG_USB_XHCI_PCI | y → m or n | --module USB_XHCI_HCD',
      'useful |  | y → m or n | ',
    ])
    expect(hints({ DRM_NOUVEAU: 'y' }, { drivers, byAddress: true })[0]).toMatch(/^useful \| CONFIG_DRM_NOUVEAU/)
  })

  it('is set in one line, each symbol once', () => {
    const command = (symbol: string, ...words: string[]) => ({
      symbol,
      have: 'n',
      want: 'y' as const,
      need: 'required' as const,
      why: '',
      menu: '',
      command: words,
    })
    expect(
      configLine([command('A', '--enable', 'A'), command('B', '--enable', 'A'), command('C', '--module', 'C')]),
    ).toBe('scripts/config --enable A --module C')
    expect(configLine([])).toBe('')
  })

  it('is asked for nothing that Kconfig would not let anybody set', () => {
    for (const { setBy } of KERNEL_SYMBOLS)
      if (setBy !== undefined) expect(KERNEL_SYMBOLS.map(({ symbol }) => symbol)).toContain(setBy)
    for (const module of Object.keys(DRIVER_SYMBOLS)) expect(module).toMatch(/^[a-z0-9_]+$/)
  })
})

describe('--kernel-config', () => {
  it('says where and how', async () => {
    const dir = bare({ VFIO_PCI: 'n', DRM_NOUVEAU: 'y', TUN: 'n' })
    const ran = bind(dir, card, '--kernel-config')
    await expect(ran.stdout).toMatchFileSnapshot('../golden/bind-vfio/kernel-config-gentoo.txt')
    expect(ran.code).toBe(1)
  })

  it('as JSON', () => {
    const ran = bind(gentoo({ VFIO_PCI: 'n' }), card, '--kernel-config', '--json')
    const { action, changed, kernels } = JSON.parse(ran.stdout)
    expect({ action, changed, code: ran.code }).toEqual({ action: 'kernel-config', changed: false, code: 1 })
    expect(kernels).toMatchObject([
      {
        path: `/${config}`,
        release,
        version: '6.6.30',
        hints: [{ symbol: 'CONFIG_VFIO_PCI', have: 'n', want: 'm or y', command: ['--module', 'VFIO_PCI'] }],
      },
    ])
  })

  it('is content with all that is required, for devices and for none', () => {
    const dir = bare({ TUN: 'n', DRM_NOUVEAU: 'y' })
    const ran = bind(dir, '--kernel-config')
    expect(ran.stdout).toMatch(/nothing that is required is missing\n {2}useful {4}CONFIG_TUN is not set/)
    expect(ran.code).toBe(0)
    expect(bind(dir, card, '--kernel-config').code).toBe(1)
  })

  it('reads /proc/config.gz of the kernel that runs, and the source tree for the next', () => {
    const dir = gentoo({}, { machine: 'i9-14900k-vmd', files: { [config]: null } })
    writeIn(dir, 'proc/sys/kernel/osrelease', `${release}\n`)
    writeFileSync(join(dir, 'proc/config.gz'), gzipSync(kernelConfig({ VFIO: 'n', VFIO_PCI: 'n' }, release)))
    writeIn(dir, 'usr/src/linux/.config', kernelConfig({}, '6.12.5-gentoo'))
    const ran = bind(dir, '--kernel-config')
    expect(ran.stdout).toMatch(/^Linux 6\.6\.30-gentoo \(\/proc\/config\.gz\): 2 required$/m)
    expect(ran.stdout).toMatch(
      /^The source tree \(Linux 6\.12\.5, \/usr\/src\/linux\/\.config\): nothing that is required is missing$/m,
    )
    expect(ran.code).toBe(1)
  })

  it('takes the tree that a kernel was built in, unless it is another version by now', () => {
    const dir = gentoo({}, { files: { [config]: null } })
    writeIn(dir, `lib/modules/${release}/build/.config`, kernelConfig({ VFIO: 'n' }, '6.6.30-gentoo'))
    expect(bind(dir, '--kernel-config').stdout).toContain(`/lib/modules/${release}/build/.config): 1 required`)
    writeIn(dir, `lib/modules/${release}/build/.config`, kernelConfig({ VFIO: 'n' }, '6.12.5-gentoo'))
    const ran = bind(dir, '--kernel-config')
    expect(ran.stderr).toMatch(/no kernel configuration was found.*for Linux 6\.6\.30-gentoo/)
    expect(ran.code).toBe(2)
  })

  it('goes with nothing that writes', () => {
    const dir = gentoo()
    for (const [option, says] of [
      ['--apply', /--kernel-config changes nothing/],
      ['--undo', /choose one/],
      ['--now', /--now goes with/],
    ] as const) {
      const ran = bind(dir, card, '--kernel-config', option)
      expect(ran.stderr).toMatch(says)
      expect(ran.code).toBe(2)
    }
  })
})

describe('a plan', () => {
  it('says what the kernel lacks, and is not done while it does', () => {
    const dir = gentoo({ IRQ_REMAP: 'n' })
    const ran = bind(dir, card)
    expect(ran.stdout).toMatch(
      /problem {2}CONFIG_IRQ_REMAP is not set, wanted: y\n +\/boot\/config-6\.6\.30-gentoo: without interrupt remapping.*\n +→ scripts\/config --enable IRQ_REMAP, and build and install the kernel \(in \/usr\/src\/linux: make olddefconfig/,
    )
    expect(ran.code).toBe(1)
    expect(bind(dir, card, '--apply', '--no-commands').code).toBe(0)
    const again = bind(dir, card)
    expect(again.stdout).toContain('Nothing to write, but the kernel lacks what is named above.')
    expect(again.code).toBe(1)
    writeIn(dir, config, kernelConfig({}, release))
    expect(bind(dir, card).code).toBe(0)
    writeIn(dir, config, kernelConfig({ IRQ_REMAP: 'n' }, release))
    writeIn(dir, 'usr/src/linux/.config', kernelConfig({}, release))
    expect(bind(dir, card).stdout).toContain('/usr/src/linux/.config has it: build and install that kernel, and reboot')
  })

  it('of several things that the kernel lacks is one problem, with each of them and one command', () => {
    const said = bind(gentoo({ IRQ_REMAP: 'n', VFIO: 'n' }), card).stdout.match(/^ {2}problem .*/gm)
    expect(said).toEqual([`  problem  Linux ${release} was built without what guests need`])
  })

  it('only notes it of a kernel beside another that lacks nothing', () => {
    const dir = gentoo({}, { kernels: [release, '6.1.0-old'] })
    writeIn(dir, 'boot/config-6.1.0-old', kernelConfig({ KVM: 'n' }, '6.1.0-old'))
    const ran = bind(dir, card)
    expect(ran.stdout).toContain('note: Linux 6.1.0-old lacks CONFIG_KVM: --kernel-config says more.')
    expect(ran.stdout).not.toContain('problem')
  })

  it('that is refused for a driver that is built in says which symbol that is', () => {
    const ran = bind(bare({ DRM_NOUVEAU: 'y' }, ['nouveau']), card)
    expect(ran.stderr).toMatch(/nouveau is built into the kernel[\s\S]*CONFIG_DRM_NOUVEAU is y, wanted: m or not set/)
    expect(ran.code).toBe(2)
  })

  it('that is refused without vfio-pci says what to build', () => {
    const dir = gentoo({ VFIO_PCI: 'n' }, { without: ['vfio_pci'] })
    const ran = bind(dir, card)
    expect(ran.stderr).toMatch(/no installed kernel has vfio-pci[\s\S]*scripts\/config --module VFIO_PCI/)
    expect(ran.code).toBe(2)
  })
})
