import type { Host } from '../../lib/system/system.ts'

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

/** What frees devices for one boot, whatever bound them. */
export const UNBIND_ARGUMENTS = 'vfio-pci.ids= vfio_scripts.override=off'
