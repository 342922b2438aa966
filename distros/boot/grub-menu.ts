import { hasArgument } from '../../lib/edit/kernel-arguments.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, Observation } from '../../lib/system/system.ts'
import { rawText } from './boot-files.ts'
import { bootsRecovery, observeLines } from './loader-entries.ts'

// GRUB's menu that grub-mkconfig makes: /boot/grub/grub.cfg.

const MENUS = ['/boot/grub/grub.cfg', '/boot/grub2/grub.cfg']

/** Returns the path of the menu; `undefined` where there is none. */
export function findGrubMenu(files: Reader): string | undefined {
  return MENUS.find((path) => files.exists(path))
}

/** Returns the texts of the menus that exist. */
export function readGrubMenus(files: Reader): string[] {
  return MENUS.flatMap((path) => rawText(files, path) ?? [])
}

/** Is a menu made of entries of the Boot Loader Specification (blscfg), which systemd-boot's are not? */
export function hasBlscfgMenu(files: Reader): boolean {
  return readGrubMenus(files).some(isBlscfg)
}

const isBlscfg = (text: string): boolean => /^\s*blscfg\b/m.test(text)

interface GrubEntry {
  /** The title of the entry. */
  name: string
  /** The kernel's file name. */
  kernel: string
  line: string
  recovery: boolean
}

/** Returns the entries that boot a Linux of this system, without those of other systems that os-prober found. */
function parseGrubEntries({ files }: Host, text: string): GrubEntry[] {
  let [name, foreign] = ['', false]
  return text.split('\n').flatMap((row) => {
    const found = /^\s*menuentry\s+(?:'((?:[^']|'\\'')*)'|"([^"]*)")/.exec(row)
    if (found !== null)
      [name, foreign] = [(found[1] ?? found[2] ?? '').replaceAll("'\\''", "'"), /\sosprober-|'osprober-/.test(row)]
    const [, path, line] = /^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$/.exec(row) ?? []
    const kernel = path?.replace(/.*\//, '')
    if (kernel === undefined || line === undefined || foreign || !files.exists(`/boot/${kernel}`)) return []
    return [{ name, kernel, line, recovery: bootsRecovery(line, [kernel]) }]
  })
}

/** Observes whether normal entries have the tokens and each kernel an entry; with `absent`, whether none has any. */
export function observeGrubMenu(host: Host, tokens: readonly string[], absent: boolean): Observation[] {
  const menu = findGrubMenu(host.files)
  const text = rawText(host.files, menu)
  if (menu === undefined || text === undefined) return [{ ok: null, proof: `${menu ?? MENUS[0]} may not be read` }]
  const entries = parseGrubEntries(host, text)
  if (absent) return [observeLines(menu, entries, tokens, absent)]
  if (entries.length === 0 && isBlscfg(text))
    return [{ ok: null, proof: `${menu} takes its entries from /boot/loader/entries` }]
  const forgotten = host.kernels.flatMap(({ release }): Observation[] => {
    const images = ['vmlinuz', 'vmlinux', 'kernel'].map((name) => `${name}-${release}`)
    const isThere = images.some((name) => host.files.exists(`/boot/${name}`))
    if (!isThere || entries.some(({ kernel }) => images.includes(kernel))) return []
    return [{ ok: false, proof: `${menu}: Linux ${release} has no entry` }]
  })
  const normal = entries.filter(({ recovery }) => !recovery)
  if (normal.length === 0)
    return [...forgotten, { ok: null, proof: `${menu}: no normal entry of it boots a kernel that is in /boot` }]
  const { ok, proof } = observeLines(menu, normal, tokens, absent)
  const recovery = entries.filter((one) => one.recovery && tokens.every((token) => hasArgument(one.line, token)))
  const also = `; ${recovery.length} recovery entries have it too, and do not boot without it`
  return [...forgotten, { ok, proof: recovery.length > 0 ? proof + also : proof }]
}
