import type { Reader } from './reader.ts'

/** The path of the program that makes virtual functions. */
export const VF_SCRIPT = '/etc/vfio-scripts/virtual-functions'

/** Returns the path of the .link file by which systemd-udevd makes the virtual functions of a network card. */
export function vfLinkFile(address: string): string {
  return `/etc/systemd/network/00-vfio-scripts-${address.replaceAll(':', '-')}.link`
}

/** Virtual functions to be made. `words`: what the physical function keeps for each, as `0:mac=52:54:00:12:34:56`. */
export interface WantedFunctions {
  count: number
  driver: 'vfio-pci' | 'host'
  words: readonly string[]
}

/** Reads what tune-host makes of a physical function; `undefined` where it makes nothing. */
export function readWantedFunctions(files: Reader, address: string): WantedFunctions | undefined {
  const places = [VF_SCRIPT, `${vfLinkFile(address)}.d/virtual-functions.conf`]
  const lines = places.flatMap((path) => files.optionalText(path)?.split('\n') ?? [])
  const words = lines.find((line) => line.startsWith(`#= ${address} `))?.split(' ')
  if (words === undefined) return undefined
  const [, , , , , , count, driver, ...rest] = words
  return { count: Number(count), driver: driver === 'host' ? 'host' : 'vfio-pci', words: rest }
}
