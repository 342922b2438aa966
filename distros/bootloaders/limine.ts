import { addArgument } from '../../lib/edit/kernel-arguments.ts'
import type { ShellFile } from '../../lib/edit/shell-variables.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { findPath, listFolder, rawText, readShellFiles } from '../boot/boot-files.ts'
import { BY_HAND, listSteps } from '../boot/by-hand.ts'
import { limineEntries } from '../boot/limine-entries.ts'
import { ESP_MOUNTS } from '../boot/loader-entries.ts'
import { loaderEvidence, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'

const DEFAULTS = '/etc/default/limine'
const DROP_INS = '/etc/limine-entry-tool.d'

/** Limine, with entries written by hand or by limine-entry-tool. */
export const limine: BootloaderAdapter = {
  name: 'limine',
  documentation: 'https://codeberg.org/Limine/Limine/src/branch/trunk/CONFIG.md',
  proven: 'real files: settings and menus of real machines; it writes nothing',

  detect: (host) => loaderEvidence(host, /limine/i, () => findLimineConfigs(host)[0]),

  open: (host) => ({
    ...BY_HAND,
    configured: () => [],
    observe: () => [{ ok: null, proof: 'what Limine boots is not read here' }],
    entries: () =>
      findLimineConfigs(host)
        .slice(0, 1)
        .flatMap((path) => limineEntries(host, path)),
    menu: () => `in Limine's menu: press E on the entry, append ${UNBIND_ARGUMENTS} to its cmdline, press F10`,
    imageSteps: () => (hasEntryTool(host) ? ['limine-update'] : []),
    steps: (tokens) => (hasEntryTool(host) ? entryToolSteps(host, tokens) : ownFileSteps(host, tokens)),
  }),
}

function entryToolSteps(host: Host, tokens: readonly string[]): string[] {
  const rows = readToolFiles(host).flatMap(({ path, text }) =>
    text.split('\n').flatMap((row, index) => {
      const value = /^\s*KERNEL_CMDLINE\[[^\]]*\]\+?=["']?([^"']*)/.exec(row)?.[1]
      return value === undefined ? [] : [{ file: path, line: index + 1, row: row.trim(), value }]
    }),
  )
  const present = rows.flatMap(({ value, ...place }) =>
    parseCommandLine(value).map((argument) => ({ ...place, ...argument })),
  )
  const { steps, rest } = listSteps(present, tokens)
  return [
    ...(rows.length === 0 ? [] : ['The kernel arguments are now set by:']),
    ...rows.map(({ file, line, row }) => `    ${file}:${line}: ${row}`),
    ...steps,
    ...(rest.length > 0
      ? [`Add to ${DEFAULTS}, below all of that: KERNEL_CMDLINE[default]+=" ${rest.join(' ')}"`]
      : []),
    'limine-update',
  ]
}

function ownFileSteps(host: Host, tokens: readonly string[]): string[] {
  return findLimineConfigs(host).flatMap((path) => {
    const rows = (rawText(host.files, path) ?? '').split('\n').flatMap((row, index) => {
      const found = /^\s*(?:kernel_)?cmdline\s*[:=]\s*(.*?)\s*$/i.exec(row)
      return found === null ? [] : [`    line ${index + 1}: ${tokens.reduce(addArgument, found[1] ?? '')}`]
    })
    return [`In ${path}, make the cmdline of the entries that you use (not of a fallback) say:`, ...rows]
  })
}

function hasEntryTool({ files }: Host): boolean {
  return findProgram(files, 'limine-update', 'limine-entry-tool') !== undefined
}

/** Does limine-entry-tool make unified images? Then its files hold their command line, too. */
export function limineMakesUki(host: Host): boolean {
  return hasEntryTool(host) && readToolFiles(host).some(({ text }) => /^\s*ENABLE_UKI=["']?yes/m.test(text))
}

function readToolFiles({ files }: Host): ShellFile[] {
  const names = listFolder(files, DROP_INS).filter((name) => name.endsWith('.conf'))
  return readShellFiles(files, [...names.map((name) => `${DROP_INS}/${name}`), DEFAULTS])
}

/** Finds the configurations at the paths where Limine looks for one. */
function findLimineConfigs({ files }: Host): string[] {
  const names = ['limine.conf', 'limine/limine.conf', 'EFI/limine/limine.conf', 'EFI/BOOT/limine.conf', 'limine.cfg']
  return [...new Set(ESP_MOUNTS.flatMap((place) => names.flatMap((name) => findPath(files, `${place}/${name}`) ?? [])))]
}
