import type { MenuEntry } from '../../lib/system/boot.ts'
import type { Host } from '../../lib/system/system.ts'
import { rawText } from './boot-files.ts'
import { bootsRecovery, ESP_MOUNTS } from './loader-entries.ts'
import { fromUnifiedImages, type MenuRow, toMenuEntry } from './menu-entries.ts'

interface LimineRow extends MenuRow {
  depth: number
  protocol: string
}

/**
 * Returns the entries of a limine.conf that boot a Linux, or of a limine.cfg as it was before version 8. An entry is a
 * title behind slashes (colons before), as many as it is deep; `+`: what is below is shown.
 * Source: CONFIG.md of Limine.
 */
export function limineEntries(host: Host, file: string): MenuEntry[] {
  const text = rawText(host.files, file) ?? ''
  const rows: LimineRow[] = []
  let [shown, hidden, first] = [0, Number.POSITIVE_INFINITY, '1']
  for (const line of text.split('\n')) {
    const [, marks, expanded, title] = /^\s*(\/+|:+)(\+?)\s*(.*?)\s*$/.exec(line) ?? []
    if (marks !== undefined && title !== undefined) {
      const depth = marks.length
      if (depth <= hidden) {
        shown++
        hidden = expanded === '+' ? Number.POSITIVE_INFINITY : depth
      }
      const isDefault = shown === Number(first) && depth <= hidden
      rows.push({ depth, title, file, protocol: '', kernel: '', images: [], line: '', recovery: false, isDefault })
      continue
    }
    const [, key = '', value = ''] = /^\s*(\w+)\s*[:=]\s*(.*?)\s*$/.exec(line) ?? []
    const row = rows.at(-1)
    if (row === undefined) {
      if (/^default_entry$/i.test(key)) first = value
      if (/^remember_last_entry$/i.test(key) && value === 'yes') first = ''
    } else rows[rows.length - 1] = withKey(row, key.toLowerCase(), value)
  }
  const home = ESP_MOUNTS.filter((place) => file.startsWith(`${place}/`)).at(-1)
  return rows.flatMap(({ depth, protocol, ...row }) => {
    const recovery = bootsRecovery(row.line, [row.kernel, ...row.images])
    const isDefault = /^\d+$/.test(first) ? row.isDefault : null
    if (row.kernel === '') return []
    const entry = toMenuEntry(host, { ...row, recovery, isDefault }, home)
    if (protocol === 'linux' || row.line !== '') return [entry]
    // What it starts as a program of EFI can be a unified image.
    const { title, kernel } = entry
    if (kernel === null || !/\/EFI\/Linux\//i.test(kernel)) return []
    return fromUnifiedImages(host, [kernel]).map((one) => ({ ...one, title, file, isDefault }))
  })
}

function withKey(row: LimineRow, key: string, value: string): LimineRow {
  // A checksum may follow a path; in front of it stands where it is: boot():/x, uuid(…):/x.
  const path = value.replace(/#[0-9a-f]+$/i, '').replace(/^\w+\([^)]*\):|^boot:\/\//, '')
  if (key === 'protocol') return { ...row, protocol: value }
  if (/^(kernel_)?path$/.test(key)) return { ...row, kernel: path }
  if (key === 'module_path') return { ...row, images: [...row.images, path] }
  return /^(kernel_)?cmdline$/.test(key) ? { ...row, line: value } : row
}
