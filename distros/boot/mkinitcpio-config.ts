import { headComment } from '../../lib/change/settings.ts'
import type { DropIn } from '../../lib/host/drop-ins.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { ArgumentFile } from './argument-settings.ts'
import { filesEndingIn, rawText, readShellFiles, realPath } from './boot-files.ts'
import type { PresetImage } from './mkinitcpio-images.ts'

const PROGRAMS = ['/usr/bin/mkinitcpio', '/usr/local/bin/mkinitcpio', '/sbin/mkinitcpio']
export const MKINITCPIO_CONFIG = '/etc/mkinitcpio.conf'
const DROP_INS = `${MKINITCPIO_CONFIG}.d`
// Sorts after all others: they are read by name, and joined into one text.
const OURS = 'zz-vfio-scripts.conf'
// Begins with an empty line: the file that is joined before it may lack a last newline.
const HEAD = `\n${headComment()}`

/** Returns the path of mkinitcpio; `undefined` where it is not installed. */
export function findMkinitcpio(files: Reader): string | undefined {
  return PROGRAMS.find((path) => files.exists(path))
}

/** Returns the texts that mkinitcpio joins to one configuration; `config`: one that a preset names, read alone. */
export function mkinitcpioTexts(files: Reader, config: string | undefined): DropIn[] {
  const joins = joinsDropIns(files) && config === undefined
  const paths = [config ?? MKINITCPIO_CONFIG, ...(joins ? filesEndingIn(files, DROP_INS, '.conf') : [])]
  return readShellFiles(files, paths)
}

function joinsDropIns(files: Reader): boolean {
  return /\b_d_config\b|mkinitcpio\.conf\.d\b/.test(rawText(files, findMkinitcpio(files)) ?? '')
}

interface MkinitcpioConfig {
  place: ArgumentFile
  /** The texts that are read together with a file of our own. */
  others: string[]
}

/**
 * Returns the configurations that images are made from: a drop-in of our own where mkinitcpio reads drop-ins (from
 * version 36 on), else the main file; and the files that presets name, which are read alone.
 */
export function mkinitcpioConfigs(files: Reader, presets: readonly PresetImage[]): MkinitcpioConfig[] {
  const text = (path: string): string => rawText(files, path) ?? ''
  const named = [...new Set(presets.flatMap(({ config }) => config ?? []))]
  const configs = named.map((path): MkinitcpioConfig => ({ place: { path: realPath(files, path) }, others: [] }))
  if (presets.length > 0 && presets.every(({ config }) => config !== undefined)) return configs
  if (!joinsDropIns(files)) {
    const path = realPath(files, MKINITCPIO_CONFIG)
    return [...configs.filter(({ place }) => place.path !== path), { place: { path }, others: [] }]
  }
  const drop = filesEndingIn(files, DROP_INS, '.conf').filter((path) => !path.endsWith(`/${OURS}`))
  const others = [MKINITCPIO_CONFIG, ...drop].map(text)
  return [...configs, { place: { path: `${realPath(files, DROP_INS)}/${OURS}`, head: HEAD }, others }]
}
