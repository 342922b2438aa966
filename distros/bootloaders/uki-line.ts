import { addSetting, type Setting, type SettingOf, SHARED_HEAD } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { hasArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import {
  argumentsInVariable,
  type ConfiguredArgument,
  type ShellFile,
  sureLine,
} from '../../lib/edit/shell-variables.ts'
import type { Host } from '../../lib/system/system.ts'
import { findPath } from '../boot/boot-files.ts'
import { dracutConfig } from '../boot/unified-images.ts'
import { CMDLINE_FILE, kernelCmdline, VENDOR_CMDLINE_FILE, wholeLine } from './kernel-cmdline.ts'

/** Where the command line of a unified image comes from. */
export interface CmdlineSource {
  /** The file that arguments go into. */
  path: string
  /** What it says now. */
  currentArguments: ConfiguredArgument[]
  setting(token: string, reason: string): Setting
}

const DROP_IN = 'zz-vfio-scripts.conf'
const DROP_INS = '/etc/cmdline.d'
const VARIABLE = 'kernel_cmdline'

/**
 * Of mkinitcpio and kernel-install: a file, or the files in a folder. `named`: what a preset names; `embedded`: the lines
 * of the images now. Source: mkinitcpio(8), --cmdline (before version 40 a folder with files stands for the file, since
 * then both are read); kernel-install(8).
 */
export function fileSource(
  host: Host,
  { tool, named }: { tool: 'mkinitcpio' | 'kernel-install'; named: string | undefined },
  embedded: readonly string[],
): CmdlineSource {
  const { files } = host
  const isFolder = named !== undefined && files.list(named) !== undefined
  const folder = isFolder ? named : tool === 'mkinitcpio' ? DROP_INS : findCmdlineFolder(host)
  const drop = named === undefined || isFolder ? readConfFiles(host, folder) : []
  const main = named !== undefined && !isFolder ? [named] : isFolder ? [] : [CMDLINE_FILE, VENDOR_CMDLINE_FILE]
  const first = main.find((path) => files.exists(path))
  const whole =
    drop.length > 0 && tool === 'mkinitcpio' && !readsFileAndFolder(host) ? [] : readOptionalFile(host, first)
  const all = [...whole, ...drop]
  const own = (): { path: string; head?: string } => {
    if (named !== undefined && !isFolder) return { path: files.resolve(named) ?? named }
    if (drop.length === 0 && !isFolder) return kernelCmdline(host, embedded)
    return { path: `${files.resolve(folder ?? DROP_INS) ?? folder}/${DROP_IN}`, head: SHARED_HEAD }
  }
  const entry = named === undefined ? {} : { entry: named }
  const present = all.flatMap(({ path, text }) =>
    argumentsInFile(path, text, 'file').map((one) => ({ ...one, ...entry })),
  )
  return {
    path: first ?? CMDLINE_FILE,
    currentArguments: present,
    setting(token, reason) {
      const place = own()
      const list = findListArgument(present, token)
      const path = list === undefined ? undefined : (files.resolve(list.file) ?? list.file)
      const changeable = path !== undefined && path !== place.path && !path.startsWith('/usr/')
      return { kind: 'command-line', layout: 'file', ...(changeable ? { path } : place), token, reason }
    },
  }
}

/** Of dracut: `kernel_cmdline`; where nothing sets it, what it would have found out has to be said with it. */
export function dracutSource(host: Host, embedded: readonly string[]): CmdlineSource {
  const { files } = host
  const config = dracutConfig(files)
  const present = argumentsInVariable(config, VARIABLE)
  const folder = '/etc/dracut.conf.d'
  const path = `${files.resolve(folder) ?? folder}/zz-vfio-scripts-cmdline.conf`
  const own = (): { path: string; head?: string } => {
    if (files.exists(path)) return { path }
    if (present.length > 0) return { path, head: SHARED_HEAD }
    const line = wholeLine(host, embedded)?.replace(/["$`\\]/g, '\\$&')
    if (line !== undefined) return { path, head: `${SHARED_HEAD}${VARIABLE}="${line}"\n` }
    const next = `Write ${VARIABLE}="…" with all kernel arguments of this system (root= first) into ${path}, and run this again.`
    throw new UserError('unknown-system', `nothing sets ${VARIABLE}, and what it has to hold is not known here`, [next])
  }
  return {
    path,
    currentArguments: present,
    setting(token, reason) {
      const list = findListArgument(present, token)
      const theirs = list !== undefined && list.file !== path && !list.file.startsWith('/usr/')
      const place = theirs ? { path: files.resolve(list.file) ?? list.file } : own()
      const setting: SettingOf<'shell-argument'> = {
        kind: 'shell-argument',
        variable: VARIABLE,
        ...place,
        token,
        reason,
      }
      expectEffective(config, setting)
      return setting
    },
  }
}

/** Would dracut get the argument, with all that the other files do? */
function expectEffective(config: readonly ShellFile[], setting: SettingOf<'shell-argument'>): void {
  const now = config.find(({ path }) => path === setting.path)?.text ?? null
  const after = { path: setting.path, text: addSetting(now, setting) }
  const nameOf = ({ path }: ShellFile): string => (path === '/etc/dracut.conf' ? '' : path.replace(/.*\//, ''))
  const all = [...config.filter(({ path }) => path !== setting.path), after]
  all.sort((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1))
  if (hasArgument(sureLine(argumentsInVariable(all, VARIABLE)), setting.token)) return
  const what = `set ${VARIABLE} in a way that ${setting.token} cannot be added to for certain`
  throw new UserError('contradiction', `dracut's files ${what}; add it there by hand; nothing was written`)
}

function findListArgument(current: readonly ConfiguredArgument[], token: string): ConfiguredArgument | undefined {
  const name = token.replace(/=.*/, '').replaceAll('-', '_')
  return isListMember(token) ? current.filter((one) => one.name === name && one.value !== '').at(-1) : undefined
}

function readConfFiles(host: Host, folder: string | undefined): ShellFile[] {
  const names = folder === undefined ? [] : (host.files.list(folder) ?? [])
  return names
    .filter((name) => /^[^.].*\.conf$/.test(name))
    .flatMap((name) => readOptionalFile(host, `${folder}/${name}`))
}

function readOptionalFile({ files }: Host, path: string | undefined): ShellFile[] {
  const text = path === undefined ? undefined : files.optionalBytes(path)?.toString('latin1')
  return text === undefined || path === undefined ? [] : [{ path, text }]
}

function readsFileAndFolder({ files }: Host): boolean {
  return /\bcmdline_dir=/.test(files.optionalBytes('/usr/bin/mkinitcpio')?.toString('latin1') ?? '')
}

/** Some distributions have kernel-install read a folder too: its plugins say so. */
function findCmdlineFolder({ files }: Host): string | undefined {
  const folder = '/etc/kernel/cmdline.d'
  const plugins = ['/etc/kernel/install.d', '/usr/lib/kernel/install.d'].flatMap((from) =>
    (files.list(from) ?? []).map((name) => `${from}/${name}`),
  )
  const reads = plugins.some((path) => files.optionalBytes(path)?.toString('latin1').includes('cmdline.d'))
  return reads && findPath(files, folder) !== undefined ? folder : undefined
}
