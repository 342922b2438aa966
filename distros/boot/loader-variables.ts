import { findProgram } from '../../lib/host/find-program.ts'
import type { BootEvidence, Host } from '../../lib/system/system.ts'

// What boot loaders say of themselves: https://systemd.io/BOOT_LOADER_INTERFACE/
const VARIABLES = '/sys/firmware/efi/efivars'
const LOADER_GUID = '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'

/** What the loader of this boot said of itself: `systemd-boot 255.4`. Of another root nothing is known. */
export function readLoaderInfo(host: Host): string | undefined {
  return readLoaderVariable(host, 'LoaderInfo')
}

/** What the stub of a unified image said of itself, if one was booted: `systemd-stub 255.4`. */
export function readStubInfo(host: Host): string | undefined {
  return readLoaderVariable(host, 'StubInfo')
}

function readLoaderVariable({ machine, running }: Host, name: string): string | undefined {
  const bytes = running ? machine.optionalBytes(`${VARIABLES}/${name}-${LOADER_GUID}`) : undefined
  return bytes?.subarray(4).toString('utf16le').replaceAll('\0', '')
}

/** The command line of this boot; of another root nothing is known. */
export function readBootedLine({ machine, running }: Host): string | undefined {
  return running ? machine.optionalText('/proc/cmdline')?.trim() : undefined
}

/**
 * The evidence for a loader that says its name; `files`, where it does not; none, where it is another. `also` is what
 * else speaks for it.
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

/** What says that GRUB booted this: it itself, or the command line; `null`: another did; `undefined`: nothing does. */
export function grubEvidence(host: Host): string | null | undefined {
  const loader = readLoaderInfo(host)
  if (loader !== undefined) return /grub/i.test(loader) ? loader : null
  return /(^|\s)BOOT_IMAGE=/.test(readBootedLine(host) ?? '') ? 'BOOT_IMAGE= in /proc/cmdline' : undefined
}

/** The evidence for a tool (`rpm-ostree`) whose deployments boot. */
export function deploymentEvidence(host: Host, tool: string): BootEvidence | undefined {
  const program = findProgram(host.files, tool)
  if (program === undefined) return undefined
  if (host.running && host.machine.exists('/run/ostree-booted'))
    return { kind: 'booted', why: `/run/ostree-booted, and ${program}` }
  return host.files.exists('/ostree/deploy') ? { kind: 'configured', why: `/ostree/deploy and ${program}` } : undefined
}

/** What frees devices for one boot, whatever bound them. */
export const UNBIND_ARGUMENTS = 'vfio-pci.ids= vfio_scripts.override=off'

/** How the menu of systemd-boot is reached, and a line of it changed for one boot. */
export const SYSTEMD_BOOT_MENU = `hold the space bar while the machine starts, for systemd-boot's menu: press e, append ${UNBIND_ARGUMENTS}, press Enter`
