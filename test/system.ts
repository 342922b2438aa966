// Fake installed systems: a fake machine with an /etc, /boot and /lib/modules around it, as `--root` wants it.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { loadMachine, scratchDir, writeMachine } from './machine.ts'

export interface System {
  /** of test/machines */
  machine: string
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

const GRUB_DEFAULTS = `# If you change this file, run 'update-grub' afterwards.
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=\`lsb_release -i -s 2> /dev/null || echo Debian\`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
`

/** A Debian 12 on that machine, in a new folder. */
export function systemDir(system: System): string {
  const dir = scratchDir(`system-${system.machine}`)
  const machine = loadMachine(system.machine)
  writeMachine(machine, dir)
  const kernels = system.kernels ?? [machine.kernel]
  const modules = [...Object.keys(machine.modules ?? {}), 'vfio_pci', 'vfio'].filter(
    (name) => !system.builtin?.includes(name) && !system.without?.includes(name),
  )
  const files: Record<string, string | null> = {
    'etc/os-release': 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
    'etc/default/grub': GRUB_DEFAULTS,
    'etc/modprobe.d/blacklist-floppy.conf': 'blacklist floppy\n',
    'usr/sbin/grub-mkconfig': '#!/bin/sh\n# reads /etc/default/grub.d/*.cfg\n',
    'usr/sbin/update-grub': '#!/bin/sh\nexec grub-mkconfig -o /boot/grub/grub.cfg "$@"\n',
    'boot/grub/grub.cfg': grubConfig(kernels, 'quiet'),
    'var/lib/dpkg/status': '',
  }
  if (system.generator === 'dracut') {
    files['usr/bin/dracut'] = '#!/bin/bash\n'
    files['usr/lib/dracut/dracut-version.sh'] = 'DRACUT_VERSION=059\n'
    files['etc/kernel/postinst.d/dracut'] = '#!/bin/sh\n'
  } else {
    files['usr/sbin/update-initramfs'] = '#!/bin/sh\nexec mkinitramfs "$@"\n'
    files['etc/initramfs-tools/initramfs.conf'] = 'MODULES=most\n'
    files['etc/initramfs-tools/modules'] = '# List of modules that you want to include in your initramfs.\n'
    files['etc/kernel/postinst.d/initramfs-tools'] = '#!/bin/sh\n'
  }
  for (const release of kernels) {
    files[`boot/vmlinuz-${release}`] = 'kernel'
    files[`boot/initrd.img-${release}`] = 'initramfs'
    files[`boot/config-${release}`] = kernelConfig({
      INTEL_IOMMU_DEFAULT_ON: system.iommuByDefault === false ? 'n' : 'y',
    })
    files[`lib/modules/${release}/modules.dep`] = modules
      .map((name) => `kernel/drivers/${name.replace('vfio_pci', 'vfio-pci')}.ko:\n`)
      .join('')
    files[`lib/modules/${release}/modules.builtin`] = (system.builtin ?? [])
      .map((name) => `kernel/drivers/${name.replace('vfio_pci', 'vfio-pci')}.ko\n`)
      .join('')
    files[`lib/modules/${release}/modules.alias`] ??= Object.entries(machine.modules ?? {})
      .flatMap(([name, aliases]) => aliases.map((alias) => `alias ${alias} ${name}\n`))
      .join('')
  }
  for (const [path, text] of Object.entries({ ...files, ...system.files })) if (text !== null) writeIn(dir, path, text)
  return dir
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

/** A grub.cfg as Debian's grub-mkconfig writes it, with a recovery entry a kernel. */
export function grubConfig(kernels: readonly string[], line: string): string {
  const entry = (title: string, release: string, args: string): string =>
    `menuentry '${title}' --class debian --class gnu-linux {\n\tlinux\t/boot/vmlinuz-${release} root=UUID=6c616221-0000-4000-8000-000000000001 ro ${args}\n\tinitrd\t/boot/initrd.img-${release}\n}\n`
  return kernels
    .map(
      (release) =>
        entry(`Debian GNU/Linux, with Linux ${release}`, release, line) +
        entry(`Debian GNU/Linux, with Linux ${release} (recovery mode)`, release, 'single'),
    )
    .join('')
}

export function writeIn(dir: string, path: string, text: string): void {
  const file = join(dir, path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text, 'latin1')
  if (text.startsWith('#!')) chmodSync(file, 0o755)
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
