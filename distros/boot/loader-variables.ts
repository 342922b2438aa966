import { findProgram } from '../../lib/host/find-program.ts'
import type { BootEvidence, Host } from '../../lib/system/system.ts'

// EFI variables in which boot loaders describe themselves: https://systemd.io/BOOT_LOADER_INTERFACE/
const VARIABLES = '/sys/firmware/efi/efivars'
const LOADER_GUID = '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'

/** Returns the name and version that this boot's loader gave, such as `systemd-boot 255.4`; none for another root. */
export function readLoaderInfo(host: Host): string | undefined {
  return readLoaderVariable(host, 'LoaderInfo')
}

/** Returns the name and version that the booted unified image's stub gave, such as `systemd-stub 255.4`, if any. */
export function readStubInfo(host: Host): string | undefined {
  return readLoaderVariable(host, 'StubInfo')
}

/** Returns a variable of the boot loader interface, as text; none for another root. */
export function readLoaderVariable({ machine, running }: Host, name: string): string | undefined {
  const bytes = running ? machine.optionalBytes(`${VARIABLES}/${name}-${LOADER_GUID}`) : undefined
  return bytes?.subarray(4).toString('utf16le').replaceAll('\0', '')
}

/** Returns the command line of this boot; `undefined` for another root. */
export function readBootedLine({ machine, running }: Host): string | undefined {
  return running ? machine.optionalText('/proc/cmdline')?.trim() : undefined
}

/**
 * Returns the evidence for a loader: the name that it gave, or `files` where none was given; `undefined` where another
 * gave its name. `also` is further evidence.
 */
export function loaderEvidence(
  host: Host,
  name: RegExp,
  files: () => string | undefined,
  also = '',
): BootEvidence | undefined {
  const loader = readLoaderInfo(host)
  if (loader !== undefined)
    return name.test(loader) ? { kind: 'booted', why: `${loader} booted this${also}` } : undefined
  const why = files()
  return why === undefined ? undefined : { kind: 'configured', why }
}

/** Returns the evidence that GRUB booted this: its name or the command line. `null`: another did; `undefined`: none. */
export function grubEvidence(host: Host): string | null | undefined {
  const loader = readLoaderInfo(host)
  if (loader !== undefined) return /grub/i.test(loader) ? loader : null
  return /(^|\s)BOOT_IMAGE=/.test(readBootedLine(host) ?? '') ? 'BOOT_IMAGE= in /proc/cmdline' : undefined
}

/** Returns the evidence for a tool (`rpm-ostree`) whose deployments boot. */
export function deploymentEvidence(host: Host, tool: string): BootEvidence | undefined {
  const program = findProgram(host.files, tool)
  if (program === undefined) return undefined
  if (host.running && host.machine.exists('/run/ostree-booted'))
    return { kind: 'booted', why: `/run/ostree-booted, and ${program}` }
  return host.files.exists('/ostree/deploy') ? { kind: 'configured', why: `/ostree/deploy and ${program}` } : undefined
}

/** The arguments that free devices for one boot, whatever bound them. */
export const UNBIND_ARGUMENTS = 'vfio-pci.ids= vfio_scripts.override=off'

/** The steps to reach the menu of systemd-boot and to change a line of it for one boot. */
export const SYSTEMD_BOOT_MENU = `hold the space bar while the machine starts, for systemd-boot's menu: press e, append ${UNBIND_ARGUMENTS}, press Enter`
