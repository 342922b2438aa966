import type { MenuEntry } from '../../lib/system/boot.ts'
import type { Host } from '../../lib/system/system.ts'
import { rawText, realPath } from './boot-files.ts'
import { compareVersions, markByGrub, markByPattern, type SortedEntry, sortEntries } from './entry-order.ts'
import { readGrubDefault, readGrubEnvironment } from './grub-entries.ts'
import { readGrubMenus } from './grub-menu.ts'
import { type BootEntry, ESP_MOUNTS } from './loader-entries.ts'
import { readLoaderVariable } from './loader-variables.ts'
import { fromBootEntries, fromUnifiedImages } from './menu-entries.ts'
import { readSection, unifiedImages } from './uki-image.ts'

// The menus that are made of entries in files and of unified images.

/**
 * Returns the menu of systemd-boot: entries in files and unified images, in its order. `images`: further unified images,
 * which the firmware starts itself.
 */
export function systemdBootMenu(
  host: Host,
  entries: readonly BootEntry[],
  images: readonly string[] = [],
): MenuEntry[] {
  const { files } = host
  const paths = [...new Set([...unifiedImages(files), ...images.map((path) => realPath(files, path))])]
  const sorted = sortEntries([
    ...fromBootEntries(host, entries).map((entry, at) => sortedEntry(entry, entries[at]?.text ?? '')),
    ...fromUnifiedImages(host, paths).map((entry) => sortedImage(host, entry)),
  ])
  const configs = ESP_MOUNTS.map((place) => rawText(files, `${place}/loader/loader.conf`))
  const config = configs.find((text) => text !== undefined)
  const said = readLoaderVariable(host, 'LoaderInfo')
  // Without systemd-boot the firmware decides.
  if (config === undefined && said === undefined && entries.length === 0 && sorted.length > 1) return sorted
  const usual = /^[ \t]*default[ \t]+(\S+)/m.exec(config ?? '')?.[1]
  const saved = readLoaderVariable(host, 'LoaderEntryLastBooted')
  const chosen = ['LoaderEntryOneShot', 'LoaderEntryDefault'].map((name) => readLoaderVariable(host, name))
  const patterns = [...chosen, usual].flatMap((one) => (one === '@saved' ? (saved ?? '@saved') : (one ?? [])))
  return patterns.includes('@saved') ? sorted : markByPattern(sorted, patterns)
}

/** Returns the menu of a GRUB with `blscfg`: newest name first, and its environment says which one is taken. */
export function blscfgMenu(host: Host, entries: readonly BootEntry[]): MenuEntry[] {
  const idOf = ({ file }: MenuEntry): string => file.replace(/.*\/|\.conf$/g, '')
  const all = fromBootEntries(host, entries).sort((one, other) => compareVersions(idOf(other), idOf(one)))
  const nodes = all.map((entry) => ({ title: entry.title, id: idOf(entry), entries: [entry] }))
  return markByGrub(nodes, readGrubDefault(readGrubMenus(host.files).join('\n'), readGrubEnvironment(host.files)))
}

/** Returns the entries of OSTree's deployments, sorted; the first boots unless another is chosen. */
export function ostreeMenu(host: Host, sorted: readonly BootEntry[]): MenuEntry[] {
  return fromBootEntries(host, sorted).map((entry, at) => ({ ...entry, isDefault: at === 0 }))
}

function sortedEntry(entry: MenuEntry, text: string): SortedEntry {
  const value = (key: string): string => new RegExp(`^[ \\t]*${key}[ \\t]+(.*?)[ \\t\\r]*$`, 'm').exec(text)?.[1] ?? ''
  return { entry, sortKey: value('sort-key'), machineId: value('machine-id'), version: value('version') }
}

/** Source: boot_entry_add_type2() in systemd's boot.c. */
function sortedImage({ files }: Host, entry: MenuEntry): SortedEntry {
  const text = readSection(files, entry.file, '.osrel') ?? ''
  const first = (...names: string[]): string =>
    names.flatMap((name) => new RegExp(`^${name}=["']?(.*?)["']?$`, 'm').exec(text)?.[1] || [])[0] ?? ''
  const version = first('IMAGE_VERSION', 'VERSION', 'VERSION_ID', 'BUILD_ID')
  return { entry, sortKey: first('IMAGE_ID', 'ID'), machineId: '', version }
}
