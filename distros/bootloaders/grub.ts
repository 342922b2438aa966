import type { Reader } from '../../lib/host/reader.ts'
import { hasArgument } from '../../lib/plan/arguments.ts'
import { type ArgumentSetting, ownHead } from '../../lib/plan/setting.ts'
import { tokensOf } from '../../lib/plan/shell.ts'
import type { Bootloader, Host, Observation } from '../../lib/plan/system.ts'

const DEFAULTS = '/etc/default/grub'
const DROP_INS = '/etc/default/grub.d'
// Sorts behind what images and packages bring.
const OURS = 'zz-vfio-scripts.cfg'
const NORMAL = 'GRUB_CMDLINE_LINUX_DEFAULT'
const ALL = 'GRUB_CMDLINE_LINUX'
// What boot loaders say of themselves: https://systemd.io/BOOT_LOADER_INTERFACE/
const LOADER_INFO = '/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'

/** GRUB 2 with its menu made by grub-mkconfig. Entries of the Boot Loader Specification are another's business. */
export const grub: Bootloader = {
  name: 'grub',
  documentation: 'https://www.gnu.org/software/grub/manual/grub/html_node/Simple-configuration.html',

  evidence(host) {
    const config = configOf(host.files)
    if (config === undefined || !host.files.exists(DEFAULTS)) return undefined
    if (!host.running) return { kind: 'configured', why: `${DEFAULTS} and ${config}` }
    const loader = host.machine.optionalBytes(LOADER_INFO)?.subarray(4).toString('utf16le')
    if (loader !== undefined) return /grub/i.test(loader) ? { kind: 'booted', why: `${loader} booted this` } : undefined
    const booted = /(^|\s)BOOT_IMAGE=/.test(host.machine.optionalText('/proc/cmdline') ?? '')
    if (booted) return { kind: 'booted', why: `BOOT_IMAGE= in /proc/cmdline, and ${config}` }
    return { kind: 'configured', why: `${DEFAULTS} and ${config}` }
  },

  configured: ({ files }) => [ALL, NORMAL].flatMap((variable) => tokensOf(sourced(files), variable)),

  settings({ files }, tokens) {
    return tokens.map(({ token, reason }): ArgumentSetting => {
      // Where a list of this name is, a member more goes into it; recovery entries have it already, then.
      const name = (token.split('=')[0] ?? '').replaceAll('-', '_')
      const lists = /\.ids$/.test(name)
        ? [ALL, NORMAL].map((variable) => ({
            variable,
            found: tokensOf(sourced(files), variable)
              .filter((one) => one.name === name)
              .at(-1),
          }))
        : []
      const list = lists.filter(({ found }) => found !== undefined).at(-1)
      if (list?.found !== undefined && !list.found.file.endsWith(`/${OURS}`))
        return {
          kind: 'argument',
          path: files.resolve(list.found.file) ?? list.found.file,
          variable: list.variable,
          token,
          reason,
        }
      if (!readsDropIns(files))
        return { kind: 'argument', path: files.resolve(DEFAULTS) ?? DEFAULTS, variable: NORMAL, token, reason }
      const path = `${files.resolve(DROP_INS) ?? DROP_INS}/${OURS}`
      return { kind: 'argument', path, head: ownHead(), variable: NORMAL, token, reason }
    })
  },

  commands({ files }) {
    const config = configOf(files) ?? '/boot/grub/grub.cfg'
    const update = programs(files, 'update-grub')
    const maker =
      ['grub2-mkconfig', 'grub-mkconfig'].find((name) => programs(files, name) !== undefined) ?? 'grub-mkconfig'
    const argv = update === undefined ? [maker, '-o', config] : ['update-grub']
    return [{ kind: 'command', argv, inverse: argv, touches: [config], reason: 'the boot menu' }]
  },

  observe(host, tokens, absent) {
    const config = configOf(host.files)
    const text = config === undefined ? undefined : host.files.optionalBytes(config)?.toString('latin1')
    if (text === undefined) return [{ ok: null, evidence: `${config ?? '/boot/grub/grub.cfg'} may not be read` }]
    return absent ? observeAbsent(`${config}`, text, tokens) : observePresent(host, `${config}`, text, tokens)
  },

  menu({ machine, files }) {
    const key = machine.exists('/sys/firmware/efi') ? 'press Esc once' : 'hold Shift'
    const setting = (name: string): string | undefined => tokensOf(sourced(files), name)[0]?.token
    const hidden =
      setting('GRUB_TIMEOUT_STYLE') === 'hidden' ||
      setting('GRUB_TIMEOUT') === '0' ||
      setting('GRUB_HIDDEN_TIMEOUT') !== undefined
    const reach = hidden ? `${key} while the machine starts, for GRUB's menu` : `in GRUB's menu`
    return `${reach}: press e, append vfio-pci.ids= vfio_scripts.override=off to the line that starts with linux, press Ctrl-x`
  },

  steps: (tokens) => [
    `Add to ${NORMAL} in ${DEFAULTS}: ${tokens.join(' ')}`,
    'Run update-grub (or grub-mkconfig -o /boot/grub/grub.cfg, or grub2-mkconfig -o /boot/grub2/grub.cfg).',
  ],
}

function configOf(files: Reader): string | undefined {
  return ['/boot/grub/grub.cfg', '/boot/grub2/grub.cfg'].find((path) => files.exists(path))
}

function programs(files: Reader, name: string): string | undefined {
  return ['/usr/sbin', '/usr/bin', '/sbin', '/usr/local/sbin']
    .map((folder) => `${folder}/${name}`)
    .find((path) => files.exists(path))
}

/** Debian's and Ubuntu's grub-mkconfig read drop-ins; upstream's does not. Its own text says. */
function readsDropIns(files: Reader): boolean {
  const program = programs(files, 'grub-mkconfig') ?? programs(files, 'grub2-mkconfig')
  const text = program === undefined ? undefined : files.optionalBytes(program)?.toString('latin1')
  return text === undefined ? files.exists(DROP_INS) : text.includes('default/grub.d')
}

/** The files that grub-mkconfig sources, in its order. */
function sourced(files: Reader): { path: string; text: string }[] {
  const names = readsDropIns(files) ? (files.list(DROP_INS) ?? []).filter((name) => /^[^.].*\.cfg$/.test(name)) : []
  return [DEFAULTS, ...names.map((name) => `${DROP_INS}/${name}`)].flatMap((path) => {
    const text = files.optionalBytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  })
}

interface Entry {
  title: string
  /** What follows `linux`: the kernel, then its arguments. */
  kernel: string
  line: string
  recovery: boolean
}

/** The entries that boot a kernel of this system: os-prober's entries of others name a kernel that is not in its /boot. */
function entriesOf(text: string): Entry[] {
  let title = ''
  return text.split('\n').flatMap((row) => {
    title = /^\s*menuentry\s+(['"])(.*?)\1/.exec(row)?.[2] ?? title
    const [, kernel, line] = /^\s*linux(?:16|efi)?\s+(\S+)\s*(.*)$/.exec(row) ?? []
    if (kernel === undefined || line === undefined || /\$menuentry_id_option 'osprober-/.test(row)) return []
    const recovery = /recovery|rescue/i.test(title) || /(^|\s)(single|recovery)(\s|$)/.test(line)
    return [{ title, kernel, line, recovery }]
  })
}

function observePresent({ kernels }: Host, config: string, text: string, tokens: readonly string[]): Observation[] {
  const entries = entriesOf(text)
  if (entries.length === 0 && /^\s*blscfg/m.test(text))
    return [{ ok: null, evidence: `${config} takes its entries from /boot/loader/entries` }]
  const own = entries.filter(({ kernel }) => kernels.some(({ release }) => kernel.endsWith(`-${release}`)))
  const observations: Observation[] = kernels
    .filter(({ release }) => !own.some(({ kernel }) => kernel.endsWith(`-${release}`)))
    .map(({ release }) => ({ ok: false, evidence: `${config}: Linux ${release} has no entry` }))
  const normal = own.filter(({ recovery }) => !recovery)
  const having = normal.filter(({ line }) => tokens.every((token) => hasArgument(line, token)))
  const without = normal.filter((entry) => !having.includes(entry)).map(({ title }) => title)
  const what = `${config}: ${having.length} of ${normal.length} normal entries have ${tokens.join(' ')}`
  observations.push({
    ok: without.length === 0,
    evidence: without.length === 0 ? what : `${what}; not: ${[...new Set(without)].join(', ')}`,
  })
  return observations
}

function observeAbsent(config: string, text: string, tokens: readonly string[]): Observation[] {
  const having = entriesOf(text).filter(({ line }) => tokens.some((token) => hasArgument(line, token)))
  const evidence = `${config}: ${having.length} entries have ${tokens.join(' or ')}`
  return [{ ok: having.length === 0, evidence }]
}
