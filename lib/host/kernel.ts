import { gunzip } from './gzip.ts'
import type { Reader } from './reader.ts'

/** Returns the running kernel's release (`uname -r`); `undefined` when the tree does not say. */
export function kernelRelease(reader: Reader): string | undefined {
  return reader.optionalText('/proc/sys/kernel/osrelease')?.trim() || undefined
}

/** The folders in which kernels have their modules; NixOS has no /lib/modules. */
export const MODULE_FOLDERS = [
  '/lib/modules',
  '/run/booted-system/kernel-modules/lib/modules',
  '/run/current-system/kernel-modules/lib/modules',
  '/nix/var/nix/profiles/system/kernel-modules/lib/modules',
]

export interface KernelArgument {
  /** The argument as it stands: `vfio-pci.ids=10de:1cb6`. */
  token: string
  /** The name with `-` as `_`, which the kernel takes as the same. */
  name: string
  value: string | undefined
}

/**
 * Cuts a kernel command line into arguments, in order; double quotes keep spaces together.
 * Source: next_arg() in the kernel's lib/cmdline.c.
 */
export function parseCommandLine(line: string): KernelArgument[] {
  const tokens = line.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? []
  return tokens.map((token) => {
    const equals = token.indexOf('=')
    const name = (equals < 0 ? token : token.slice(0, equals)).replaceAll('"', '').replaceAll('-', '_')
    return { token, name, value: equals < 0 ? undefined : token.slice(equals + 1).replaceAll('"', '') }
  })
}

/**
 * Returns the vendor of the CPU: `intel` has VT-d and VMX, `amd` AMD-Vi and SVM (Hygon too); `null` when the tree does
 * not say.
 */
export function cpuVendor(reader: Reader): 'intel' | 'amd' | null {
  // The first processor is enough; reading all of them takes long on a large host.
  const cpu = reader.optionalBytes('/proc/cpuinfo', 8192)?.toString('latin1') ?? ''
  if (cpu.includes('GenuineIntel')) return 'intel'
  return /AuthenticAMD|HygonGenuine/.test(cpu) ? 'amd' : null
}

/**
 * Returns the symbols that the running kernel's configuration sets, each with `y`, `m`, or a value; `undefined` when it
 * is not readable.
 */
export function readRunningConfig(reader: Reader): Map<string, string> | undefined {
  const release = kernelRelease(reader)
  const text = release === undefined ? packedConfig(reader) : kernelConfigText(reader, release)
  if (text === undefined) return undefined
  const symbols = new Map<string, string>()
  for (const [, symbol = '', value = ''] of text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)) symbols.set(symbol, value)
  return symbols
}

/** The ways by which a kernel gives devices to guests; `null` where its configuration is not readable. */
export interface VfioInterfaces {
  /** Are there VFIO groups (/dev/vfio/14)? libvirt starts no guest with devices without them (seen with 12.8). */
  groups: boolean | null
  /** Are there VFIO devices for iommufd (/dev/vfio/devices/vfio0, /dev/iommu)? */
  devices: boolean | null
}

/**
 * Returns the interfaces of VFIO by a kernel's configuration: `config` gives a symbol's value, `n` where it is not set,
 * `null` where nothing is readable. Source: drivers/vfio/Kconfig; VFIO_DEVICE_CDEV came with 6.6, as a choice of groups.
 */
export function vfioInterfacesOf(config: (symbol: string) => string | null): VfioInterfaces {
  if (config('CONFIG_VFIO') === null) return { groups: null, devices: null }
  const has = (symbol: string): boolean => config(symbol) !== 'n'
  const devices = has('CONFIG_IOMMUFD') && has('CONFIG_VFIO_DEVICE_CDEV')
  // Older kernels have groups alone, and no symbol for them.
  return { groups: has('CONFIG_VFIO_GROUP') || !devices, devices }
}

/** Reads those of the running kernel. */
export function readVfioInterfaces(reader: Reader): VfioInterfaces {
  const config = readRunningConfig(reader)
  return vfioInterfacesOf((symbol) => (config === undefined ? null : (config.get(symbol) ?? 'n')))
}

/**
 * The names in /proc/iomem of the picture that the firmware left, as patterns of sh: of its driver, of its device, of the
 * memory itself. Source: drivers/gpu/drm/sysfb, drivers/video/fbdev, drivers/firmware/sysfb_simplefb.c.
 */
export const FIRMWARE_PICTURES = [
  ...['efifb', 'vesafb', 'simplefb', 'simpledrm', 'efidrm', 'vesadrm', 'corebootdrm', 'BOOTFB', '*-framebuffer*'],
] as const

/** Reads the configuration that the running kernel holds itself, where it was built to. */
function packedConfig(reader: Reader): string | undefined {
  const packed = reader.optionalBytes('/proc/config.gz')
  return packed && gunzip(packed)?.toString('latin1')
}

/** Returns the text of a kernel's configuration, from where distros put it, or from the running kernel itself. */
export function kernelConfigText(files: Reader, release: string): string | undefined {
  const paths = [`/boot/config-${release}`, `/lib/modules/${release}/config`]
  const text = paths.map((path) => files.optionalBytes(path)?.toString('latin1')).find((found) => found !== undefined)
  return text ?? (kernelRelease(files) === release ? packedConfig(files) : undefined)
}
