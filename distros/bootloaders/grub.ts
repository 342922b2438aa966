import { addSetting, type SettingOf, SHARED_HEAD } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { hasArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import { ANY_TEXT } from '../../lib/edit/shell.ts'
import {
  argumentsInVariable,
  type ConfiguredArgument,
  type ShellFile,
  sureLine,
} from '../../lib/edit/shell-variables.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Bootloader, Host, Observation } from '../../lib/system/system.ts'
import { readBootedLine, readLoaderInfo, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'
import { listSteps } from './difference.ts'

const DEFAULTS = '/etc/default/grub'
const DROP_INS = '/etc/default/grub.d'
// Sorts behind what images and packages bring; with more of z behind a person's.
const OURS = /\/z+-vfio-scripts\.cfg$/
const NORMAL_VARIABLE = 'GRUB_CMDLINE_LINUX_DEFAULT'
const ALL_VARIABLE = 'GRUB_CMDLINE_LINUX'

/** GRUB 2 with its menu made by grub-mkconfig. Entries of the Boot Loader Specification are another's business. */
export const grub: Bootloader = {
  name: 'grub',
  documentation: 'https://www.gnu.org/software/grub/manual/grub/html_node/Simple-configuration.html',

  detect(host) {
    const config = findGrubConfig(host.files)
    if (config === undefined || !host.files.exists(DEFAULTS) || hasExternalMenu(host.files, config)) return undefined
    if (!host.running) return { kind: 'configured', why: `${DEFAULTS} and ${config}` }
    const loader = readLoaderInfo(host)
    const image = /(?:^|\s)(BOOT_IMAGE=\S+)/.exec(readBootedLine(host) ?? '')?.[1]
    const other = loader !== undefined && !/grub/i.test(loader)
    if (image === undefined && other) return undefined
    // Other loaders start GRUB, and command lines are copied from one to the other.
    if (other) return { kind: 'configured', why: `${image} in /proc/cmdline, but ${loader} ran too` }
    if (loader !== undefined) return { kind: 'booted', why: `${loader} booted this` }
    if (image !== undefined) return { kind: 'booted', why: `${image} in /proc/cmdline, and ${config}` }
    return { kind: 'configured', why: `${DEFAULTS} and ${config}` }
  },

  configured: ({ files }) => grubArguments(sourced(files)).filter(({ token }) => !token.includes(ANY_TEXT)),

  settings({ files }, tokens) {
    const sources = sourced(files)
    return tokens.map(({ token, reason }): SettingOf<'shell-argument'> => {
      const places = candidateFiles(files, sources, token).map((place) => ({
        kind: 'shell-argument' as const,
        token,
        reason,
        ...place,
      }))
      const found = places.find((setting) => isEffective(files, sources, setting))
      if (found !== undefined) return found
      const list = places.find(({ head }) => head === undefined)
      const last = list?.path ?? sources.filter(({ text }) => text.includes(NORMAL_VARIABLE)).at(-1)?.path ?? DEFAULTS
      const what = `sets ${list?.variable ?? NORMAL_VARIABLE} in a way that ${token} cannot be added to for certain`
      throw new UserError('contradiction', `${last}: ${what}; add it there by hand; nothing was written`)
    })
  },

  commands({ files }) {
    const config = findGrubConfig(files) ?? '/boot/grub/grub.cfg'
    const update = findProgram(files, 'update-grub')
    const maker =
      ['grub2-mkconfig', 'grub-mkconfig'].find((name) => findProgram(files, name) !== undefined) ?? 'grub-mkconfig'
    const argv = update === undefined ? [maker, '-o', config] : ['update-grub']
    return [{ kind: 'command', argv, inverse: argv, touches: [config], reason: 'the boot menu' }]
  },

  observe(host, tokens, absent) {
    const config = findGrubConfig(host.files)
    const text = config === undefined ? undefined : host.files.optionalBytes(config)?.toString('latin1')
    if (text === undefined) return [{ ok: null, proof: `${config ?? '/boot/grub/grub.cfg'} may not be read` }]
    return absent ? observeAbsent(host, `${config}`, text, tokens) : observePresent(host, `${config}`, text, tokens)
  },

  menu({ machine, files }) {
    const key = machine.exists('/sys/firmware/efi') ? 'press Esc once' : 'hold Shift'
    const setting = (name: string): string | undefined => argumentsInVariable(sourced(files), name)[0]?.token
    const hidden =
      setting('GRUB_TIMEOUT_STYLE') === 'hidden' ||
      setting('GRUB_TIMEOUT') === '0' ||
      setting('GRUB_HIDDEN_TIMEOUT') !== undefined
    const reach = hidden ? `${key} while the machine starts, for GRUB's menu` : `in GRUB's menu`
    return `${reach}: press e, append ${UNBIND_ARGUMENTS} to the line that starts with linux, press Ctrl-x`
  },

  steps(tokens, { files }) {
    const { steps, rest } = listSteps(grubArguments(sourced(files)), tokens)
    return [
      ...steps,
      ...(rest.length > 0 ? [`Add to ${NORMAL_VARIABLE} in ${DEFAULTS}: ${rest.join(' ')}`] : []),
      'Run update-grub (or grub-mkconfig -o /boot/grub/grub.cfg, or grub2-mkconfig -o /boot/grub2/grub.cfg).',
    ]
  },
}

/**
 * Entries that grub-mkconfig does not make: /boot/loader/entries (grubby's), and copies of the menu on ESPs that are not
 * mounted (proxmox-boot-tool's).
 */
function hasExternalMenu(files: Reader, config: string): boolean {
  const text = files.optionalBytes(config)?.toString('latin1') ?? ''
  return /^\s*blscfg\b/m.test(text) || files.exists('/etc/kernel/proxmox-boot-uuids')
}

function findGrubConfig(files: Reader): string | undefined {
  return ['/boot/grub/grub.cfg', '/boot/grub2/grub.cfg'].find((path) => files.exists(path))
}

/** Debian's and Ubuntu's grub-mkconfig read drop-ins; upstream's does not. Its own text says. */
function readsDropIns(files: Reader): boolean {
  const program = findProgram(files, 'grub-mkconfig') ?? findProgram(files, 'grub2-mkconfig')
  const text = program === undefined ? undefined : files.optionalBytes(program)?.toString('latin1')
  return text === undefined ? files.exists(DROP_INS) : text.includes('default/grub.d')
}

/** The files that grub-mkconfig sources, in its order. */
function sourced(files: Reader): ShellFile[] {
  const names = readsDropIns(files) ? (files.list(DROP_INS) ?? []).filter((name) => /^[^.].*\.cfg$/s.test(name)) : []
  return [DEFAULTS, ...names.map((name) => `${DROP_INS}/${name}`)].flatMap((path) => {
    const text = files.optionalBytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  })
}

/** What normal entries get, in the order in which the kernel sees it. */
function grubArguments(sources: readonly ShellFile[]): ConfiguredArgument[] {
  return [ALL_VARIABLE, NORMAL_VARIABLE].flatMap((variable) => argumentsInVariable(sources, variable))
}

/** Where an argument could go, the best place first. */
function candidateFiles(
  files: Reader,
  sources: readonly ShellFile[],
  token: string,
): Pick<SettingOf<'shell-argument'>, 'path' | 'variable' | 'head'>[] {
  // Where a list of this name is, a member more goes into it; recovery entries have it already, then.
  const name = (token.split('=')[0] ?? '').replaceAll('-', '_')
  const list = grubArguments(sources)
    .filter((one) => isListMember(token) && one.name === name && one.value !== '')
    .at(-1)
  if (list !== undefined && !OURS.test(list.file))
    return [{ path: files.resolve(list.file) ?? list.file, variable: list.variable }]
  if (!readsDropIns(files)) return [{ path: files.resolve(DEFAULTS) ?? DEFAULTS, variable: NORMAL_VARIABLE }]
  const folder = files.resolve(DROP_INS) ?? DROP_INS
  const longest = Math.max(1, ...sources.map(({ path }) => /\/(z*)[^/]*$/.exec(path)?.[1]?.length ?? 0))
  return Array.from({ length: longest }, (_, more) => ({
    path: `${folder}/${'z'.repeat(more + 2)}-vfio-scripts.cfg`,
    head: SHARED_HEAD,
    variable: NORMAL_VARIABLE,
  }))
}

/** Would the kernel get the argument, with all that the other files do? */
function isEffective(files: Reader, sources: readonly ShellFile[], setting: SettingOf<'shell-argument'>): boolean {
  const path = sources.find((one) => files.resolve(one.path) === setting.path)?.path
  const own = { path: path ?? setting.path, text: sources.find((one) => one.path === path)?.text ?? null }
  const nameOf = (file: { path: string }): string => (file.path === DEFAULTS ? '' : file.path.replace(/.*\//s, ''))
  const after = [...sources.filter((one) => one.path !== path), { ...own, text: addSetting(own.text, setting) }]
  after.sort((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1))
  return hasArgument(sureLine(grubArguments(after)), setting.token)
}

interface GrubEntry {
  title: string
  /** The kernel's file name. */
  kernel: string
  line: string
  recovery: boolean
}

/** The entries that boot a Linux of this system; those that os-prober found are another's. */
function parseGrubEntries({ files }: Host, text: string): GrubEntry[] {
  let [title, foreign] = ['', false]
  return text.split('\n').flatMap((row) => {
    const found = /^\s*menuentry\s+(?:'((?:[^']|'\\'')*)'|"([^"]*)")/.exec(row)
    if (found !== null)
      [title, foreign] = [(found[1] ?? found[2] ?? '').replaceAll("'\\''", "'"), /\sosprober-|'osprober-/.test(row)]
    const [, path, line] = /^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$/.exec(row) ?? []
    const kernel = path?.replace(/.*\//, '')
    if (kernel === undefined || line === undefined || foreign || !files.exists(`/boot/${kernel}`)) return []
    const recovery = /\((recovery mode|.*rescue.*)\)/i.test(title) || /(^|\s)(single|recovery)(\s|$)/.test(line)
    return [{ title, kernel, line, recovery }]
  })
}

function observePresent(host: Host, config: string, text: string, tokens: readonly string[]): Observation[] {
  const entries = parseGrubEntries(host, text)
  if (entries.length === 0 && /^\s*blscfg/m.test(text))
    return [{ ok: null, proof: `${config} takes its entries from /boot/loader/entries` }]
  const observations = host.kernels.flatMap(({ release }): Observation[] => {
    const images = ['vmlinuz', 'vmlinux', 'kernel'].map((name) => `${name}-${release}`)
    const missing = images.some((name) => host.files.exists(`/boot/${name}`))
    if (!missing || entries.some(({ kernel }) => images.includes(kernel))) return []
    return [{ ok: false, proof: `${config}: Linux ${release} has no entry` }]
  })
  const has = ({ line }: GrubEntry): boolean => tokens.every((token) => hasArgument(line, token))
  const normal = entries.filter(({ recovery }) => !recovery)
  const without = [...new Set(normal.filter((entry) => !has(entry)).map(({ title }) => title))]
  const recovery = entries.filter((entry) => entry.recovery && has(entry)).length
  if (normal.length === 0)
    return [...observations, { ok: null, proof: `${config}: no normal entry of it boots a kernel that is in /boot` }]
  const evidence = [
    `${config}: ${normal.filter(has).length} of ${normal.length} normal entries have ${tokens.join(' ')}`,
    ...(without.length > 0 ? [`not: ${without.join(', ')}`] : []),
    ...(recovery > 0 ? [`${recovery} recovery entries have it too, and do not boot without it`] : []),
  ]
  return [...observations, { ok: without.length === 0, proof: evidence.join('; ') }]
}

function observeAbsent(host: Host, config: string, text: string, tokens: readonly string[]): Observation[] {
  const having = parseGrubEntries(host, text).filter(({ line }) => tokens.some((token) => hasArgument(line, token)))
  const evidence = `${config}: ${having.length} entries have ${tokens.join(' or ')}`
  return [{ ok: having.length === 0, proof: evidence }]
}
