import { hasArgument } from '../../lib/edit/kernel-arguments.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, Observation } from '../../lib/system/system.ts'
import { rawText } from './boot-files.ts'
import { grubEntries } from './grub-entries.ts'
import { observeLines } from './loader-entries.ts'

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

/** Returns the entries of the menu itself whose kernel is here, by title. */
function entriesHere(host: Host, menu: string): { name: string; kernel: string; line: string; recovery: boolean }[] {
  return grubEntries(host, menu).flatMap(({ title, file, kernel, line, recovery }) =>
    kernel === null || file !== menu ? [] : [{ name: title, kernel: kernel.replace(/.*\//, ''), line, recovery }],
  )
}

/** Observes whether normal entries have the tokens and each kernel an entry; with `absent`, whether none has any. */
export function observeGrubMenu(host: Host, tokens: readonly string[], absent: boolean): Observation[] {
  const menu = findGrubMenu(host.files)
  const text = rawText(host.files, menu)
  if (menu === undefined || text === undefined) return [{ ok: null, proof: `${menu ?? MENUS[0]} may not be read` }]
  const entries = entriesHere(host, menu)
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
