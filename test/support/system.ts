// Fake installed systems: a fake machine with an /etc, /boot and /lib/modules around it, as `--root` wants it.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { FAMILIES, type Family, type Files } from './families.ts'
import { loadMachine, scratchDir, writeMachine } from './machine.ts'

export interface System {
  /** of test/machines */
  machine: string
  /** [debian] */
  family?: keyof typeof FAMILIES
  /** what makes its initramfs [the family's own; initramfs-tools on Debian] */
  generator?: 'initramfs-tools' | 'dracut'
  /** releases [the machine's own] */
  kernels?: readonly string[]
  /** modules that are built into every kernel [none] */
  builtin?: readonly string[]
  /** modules that no kernel has [none] */
  without?: readonly string[]
  /** is CONFIG_INTEL_IOMMU_DEFAULT_ON set? [true, as Debian has it] */
  iommuByDefault?: boolean
  /** path → text; replaces what is there, `null` removes it */
  files?: Readonly<Record<string, string | null>>
}

/** An installed system on that machine, in a new folder: a Debian 12 unless told. */
export function systemDir(system: System): string {
  const dir = scratchDir(`system-${system.machine}`)
  const machine = loadMachine(system.machine)
  writeMachine(machine, dir)
  const kernels = system.kernels ?? [machine.kernel]
  const family: Family = FAMILIES[system.family ?? 'debian']
  const { kernel, image, config } = family.boot ?? DEBIAN_BOOT
  const modules = [...Object.keys(machine.modules ?? {}), 'vfio_pci', 'vfio', 'vfio_iommu_type1', 'radeon'].filter(
    (name) => !system.builtin?.includes(name) && !system.without?.includes(name),
  )
  const files: Record<string, string | null> = { ...family.files(kernels), ...generatorFiles(system) }
  // What the packages of NVIDIA's driver bring.
  if (Object.values(machine.devices).some(({ driver }) => driver === 'nvidia'))
    files['usr/lib/modprobe.d/nvidia.conf'] = 'blacklist nouveau\n'
  const symbols = kernelConfig({ INTEL_IOMMU_DEFAULT_ON: system.iommuByDefault === false ? 'n' : 'y' })
  if (family.modules !== undefined) rmSync(join(dir, 'lib/modules'), { recursive: true, force: true })
  if (config === null) writeFileSync(join(dir, 'proc/config.gz'), gzipSync(symbols))
  for (const release of kernels) {
    const folder = `${family.modules ?? 'lib/modules'}/${release}`
    const of = (path: string): string => path.replace('RELEASE', release)
    files[of(kernel)] = 'kernel'
    if (image !== null) files[of(image)] = 'initramfs'
    if (config !== null) files[of(config)] = symbols
    files[`${folder}/modules.dep`] = modules
      .map((name) => `kernel/drivers/${name.replace('vfio_pci', 'vfio-pci')}.ko:\n`)
      .join('')
    files[`${folder}/modules.builtin`] = (system.builtin ?? [])
      .map((name) => `kernel/drivers/${name.replace('vfio_pci', 'vfio-pci')}.ko\n`)
      .join('')
    files[`${folder}/modules.alias`] ??= Object.entries(machine.modules ?? {})
      .flatMap(([name, aliases]) => aliases.map((alias) => `alias ${alias} ${name}\n`))
      .join('')
  }
  for (const [path, text] of Object.entries({ ...files, ...system.files })) if (text !== null) writeIn(dir, path, text)
  return dir
}

const DEBIAN_BOOT = { kernel: 'boot/vmlinuz-RELEASE', image: 'boot/initrd.img-RELEASE', config: 'boot/config-RELEASE' }

function generatorFiles({ generator, family }: System): Files {
  if (generator === 'dracut')
    return {
      'usr/bin/dracut': '#!/bin/bash\n',
      'usr/lib/dracut/dracut-version.sh': 'DRACUT_VERSION=059\n',
      'etc/kernel/postinst.d/dracut': '#!/bin/sh\n',
    }
  if (generator === undefined && family !== undefined && family !== 'debian') return {}
  return {
    'usr/sbin/update-initramfs': '#!/bin/sh\nexec mkinitramfs "$@"\n',
    'etc/initramfs-tools/initramfs.conf': 'MODULES=most\n',
    'etc/initramfs-tools/modules': '# List of modules that you want to include in your initramfs.\n',
    'etc/kernel/postinst.d/initramfs-tools': '#!/bin/sh\n',
  }
}

const CONFIG = {
  ...Object.fromEntries(
    'IOMMU_SUPPORT INTEL_IOMMU INTEL_IOMMU_DEFAULT_ON AMD_IOMMU IRQ_REMAP VFIO_GROUP VFIO_CONTAINER VFIO_PCI_VGA PCI_QUIRKS HUGETLBFS'
      .split(' ')
      .map((symbol) => [symbol, 'y']),
  ),
  ...Object.fromEntries(
    'VFIO VFIO_IOMMU_TYPE1 VFIO_PCI VFIO_VIRQFD IOMMUFD KVM KVM_INTEL KVM_AMD TUN BRIDGE VHOST_NET DRM_NOUVEAU SND_HDA_INTEL'
      .split(' ')
      .map((symbol) => [symbol, 'm']),
  ),
}

/** A kernel's configuration that has all that is needed, but for what is told: `n` is not set. */
export function kernelConfig(symbols: Readonly<Record<string, string>> = {}, version = '6.12.1'): string {
  const lines = Object.entries({ ...CONFIG, ...symbols }).map(([symbol, value]) =>
    value === 'n' ? `# CONFIG_${symbol} is not set\n` : `CONFIG_${symbol}=${value}\n`,
  )
  return `#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 ${version} Kernel Configuration\n#\n${lines.join('')}`
}

export function writeIn(dir: string, path: string, text: string): void {
  const file = join(dir, path)
  mkdirSync(dirname(file), { recursive: true })
  if (text.startsWith('→ ')) symlinkSync(text.slice(2), file)
  else writeFileSync(file, text, 'latin1')
  if (text.startsWith('#!')) chmodSync(file, 0o755)
}

/** Puts files below a folder in place of what is there; `null` is nothing at all, `→ target` a link. */
export function replaceIn(dir: string, files: Readonly<Record<string, string | null>>): void {
  for (const [path, text] of Object.entries(files)) {
    rmSync(join(dir, path), { recursive: true, force: true })
    if (text !== null) writeIn(dir, path, text)
  }
}

/** Every file below a folder with content, mode and owner, and every link: equal texts are equal trees. */
export function snapshotOf(dir: string): string {
  const lines: string[] = []
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8', withFileTypes: true })) {
    const path = join(name.parentPath ?? name.path, name.name)
    const shown = path.slice(dir.length)
    if (name.isSymbolicLink()) lines.push(`${shown} -> ${readlinkSync(path)}`)
    else {
      const { mode, uid, gid } = statSync(path)
      const content = name.isFile() ? readFileSync(path, 'base64') : ''
      lines.push(`${shown} ${mode.toString(8)} ${uid}:${gid} ${content}`)
    }
  }
  return lines.sort().join('\n')
}

export function textOf(dir: string, path: string): string | null {
  return existsSync(join(dir, path)) ? readFileSync(join(dir, path), 'latin1') : null
}
