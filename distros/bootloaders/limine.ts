import type { Bootloader, Host } from '../../lib/plan/system.ts'
import type { ShellFile } from '../../lib/plan/variable.ts'
import { findPath, namesIn } from '../initramfs/find.ts'
import { PLACES } from './entries.ts'
import { FREE, findProgram, loaderInfo } from './evidence.ts'

const DEFAULTS = '/etc/default/limine'
const DROP_INS = '/etc/limine-entry-tool.d'

/** Limine, with entries written by hand or by limine-entry-tool. */
export const limine: Bootloader = {
  name: 'limine',
  documentation: 'https://codeberg.org/Limine/Limine/src/branch/trunk/CONFIG.md',
  byHand: true,

  evidence(host) {
    const loader = loaderInfo(host)
    if (loader !== undefined)
      return /limine/i.test(loader) ? { kind: 'booted', why: `${loader} booted this` } : undefined
    const [config] = configsOf(host)
    return config === undefined ? undefined : { kind: 'configured', why: config }
  },

  configured: () => [],
  settings: () => [],
  commands: () => [],
  observe: () => [{ ok: null, evidence: 'what Limine boots is not read here' }],
  menu: () => `in Limine's menu: press E on the entry, append ${FREE} to its cmdline, press F10`,

  steps(tokens, host) {
    const args = tokens.join(' ')
    if (findProgram(host, 'limine-update') !== undefined || findProgram(host, 'limine-entry-tool') !== undefined) {
      const files = toolFiles(host)
      const present = files.flatMap(({ path, text }) =>
        text
          .split('\n')
          .flatMap((row, index) => (/^\s*KERNEL_CMDLINE\[/.test(row) ? [`${path}:${index + 1}: ${row.trim()}`] : [])),
      )
      return [
        ...(present.length === 0
          ? []
          : ['The kernel arguments are now set by:', ...present.map((row) => `    ${row}`)]),
        ...lists(files, tokens),
        `Add to ${DEFAULTS}, below all of that: KERNEL_CMDLINE[default]+=" ${args}"`,
        'limine-update',
      ]
    }
    const configs = configsOf(host)
    return configs.flatMap((path) => {
      const text = host.files.optionalBytes(path)?.toString('latin1') ?? ''
      const rows = text.split('\n').flatMap((row, index) => {
        const found = /^\s*(?:kernel_)?cmdline\s*[:=]\s*(.*?)\s*$/i.exec(row)
        return found === null ? [] : [`    line ${index + 1}: ${found[1]} ${args}`]
      })
      return [`In ${path}, make the cmdline of the entries that you use (not of a fallback) say:`, ...rows]
    })
  },
}

/** A list that is there has to be completed: of two, the last one wins. */
function lists(files: readonly ShellFile[], tokens: readonly string[]): string[] {
  const names = tokens.map((token) => token.replace(/=.*/, '=')).filter((name) => name.endsWith('.ids='))
  const has = names.filter((name) => files.some(({ text }) => text.includes(name)))
  return [...new Set(has)].map((name) => `There is a ${name} already: put the IDs into it instead.`)
}

function toolFiles({ files }: Host): ShellFile[] {
  const names = namesIn(files, DROP_INS).filter((name) => name.endsWith('.conf'))
  return [...names.map((name) => `${DROP_INS}/${name}`), DEFAULTS].flatMap((path) => {
    const text = files.optionalBytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  })
}

/** Where it looks for its configuration. */
function configsOf({ files }: Host): string[] {
  const names = ['limine.conf', 'limine/limine.conf', 'EFI/limine/limine.conf', 'EFI/BOOT/limine.conf', 'limine.cfg']
  const paths = PLACES.flatMap((place) => names.map((name) => findPath(files, `${place}/${name}`)))
  return [...new Set(paths)].filter((path) => path !== undefined)
}
