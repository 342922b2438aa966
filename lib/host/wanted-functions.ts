import type { Reader } from './reader.ts'

/** The path of the program that makes virtual functions. */
export const VF_SCRIPT = '/etc/vfio-scripts/virtual-functions'

/** Virtual functions to be made. `words`: what the physical function keeps for each, as `0:mac=52:54:00:12:34:56`. */
export interface WantedFunctions {
  count: number
  driver: 'vfio-pci' | 'host'
  words: readonly string[]
}

/** Reads what tune-host makes of a physical function; `undefined` where it makes nothing. */
export function readWantedFunctions(files: Reader, address: string): WantedFunctions | undefined {
  const lines = files.optionalText(VF_SCRIPT)?.split('\n') ?? []
  const words = lines.find((line) => line.startsWith(`#= ${address} `))?.split(' ')
  if (words === undefined) return undefined
  const [, , , , , , count, driver, ...rest] = words
  return { count: Number(count), driver: driver === 'host' ? 'host' : 'vfio-pci', words: rest }
}
