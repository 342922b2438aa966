import { type Setting, type SettingOf, SHARED_HEAD } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { argumentsInVariable, type ConfiguredArgument, type ShellFile } from '../../lib/edit/shell-variables.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host } from '../../lib/system/system.ts'
import { type ArgumentFile, findListFor, inCommandLine, isEffective } from './argument-settings.ts'
import { filesEndingIn, findPath, rawText, readShellFiles, realPath } from './boot-files.ts'
import { dracutConfig } from './dracut-images.ts'
import { kernelInstallPlugins } from './install-config.ts'
import { CMDLINE_FILE, kernelCmdline, VENDOR_CMDLINE_FILE, wholeLine } from './kernel-cmdline.ts'

/** The source of a unified image's command line. */
export interface CmdlineSource {
  /** The file that arguments go into. */
  path: string
  /** The arguments that are set now. */
  currentArguments: ConfiguredArgument[]
  setting(token: string, reason: string): Setting
}

const DROP_IN = 'zz-vfio-scripts.conf'
const DROP_INS = '/etc/cmdline.d'
const KERNEL_DROP_INS = '/etc/kernel/cmdline.d'
const VENDOR_DROP_INS = '/usr/kernel/cmdline.d'
const VARIABLE = 'kernel_cmdline'

/**
 * Returns the source for programs that take the line from files: a file, or the files in a folder. `named` is the one
 * that a preset names; `embedded` are the lines in the present images. Its `setting` throws the UserError of
 * `kernelCmdline`. Source: mkinitcpio(8), --cmdline (before version 40 a folder with files replaces the file, since then
 * both are read); kernel-install(8); create_boot_options() in sdbootutil.
 */
export function fileSource(
  host: Host,
  { tool, named }: { tool: 'mkinitcpio' | 'kernel-install' | 'sdbootutil'; named: string | undefined },
  embedded: readonly string[],
): CmdlineSource {
  const { files } = host
  const isFolder = named !== undefined && files.list(named) !== undefined
  const folder = isFolder ? named : findDropInFolder(host, tool)
  const drop = folder === undefined || (named !== undefined && !isFolder) ? [] : readLineDropIns(files, tool, folder)
  const main = named === undefined ? [CMDLINE_FILE, VENDOR_CMDLINE_FILE] : isFolder ? [] : [named]
  const first = main.find((path) => files.exists(path))
  const skipped = first === undefined || (drop.length > 0 && tool === 'mkinitcpio' && !readsFileAndFolder(host))
  const all = [...(skipped ? [] : readShellFiles(files, [first])), ...drop]
  const own = (): ArgumentFile => {
    if (named !== undefined && !isFolder) return { path: realPath(files, named) }
    if (drop.length === 0 && !isFolder) return kernelCmdline(host, embedded)
    // A list of the vendor's: ours takes its place, so it holds the same.
    const lists = present.filter(({ token, file }) => isOfVendor(file) && findListFor(present, token)?.file === file)
    const head = [SHARED_HEAD, ...lists.map(({ token }) => `${token}\n`)].join('')
    return { path: `${realPath(files, folder ?? DROP_INS)}/${DROP_IN}`, head }
  }
  const isOfVendor = (path: string): boolean => path.startsWith('/usr/')
  const entry = named === undefined ? {} : { entry: named }
  const present = all.flatMap(({ path, text }) =>
    argumentsInFile(path, text, 'file').map((one) => ({ ...one, ...entry })),
  )
  return {
    path: first ?? CMDLINE_FILE,
    currentArguments: present,
    setting(token, reason) {
      const place = own()
      const list = findListFor(present, token)?.file
      const path = list === undefined ? place.path : realPath(files, list)
      const isOurs = path === place.path || isOfVendor(path)
      return inCommandLine('file', isOurs ? place : { path }, { token, reason })
    },
  }
}

/**
 * Returns the source for dracut: `kernel_cmdline`. If nothing sets it, ours must hold all that dracut would find out.
 * Its `setting` throws a UserError: `unknown-system` where that is not known, `contradiction` where none is certain.
 */
export function dracutSource(host: Host, embedded: readonly string[]): CmdlineSource {
  const { files } = host
  const config = dracutConfig(files)
  const present = argumentsInVariable(config, VARIABLE)
  const path = `${realPath(files, '/etc/dracut.conf.d')}/zz-vfio-scripts-cmdline.conf`
  const own = (): ArgumentFile => {
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
      const list = findListFor(present, token)?.file
      const isTheirs = list !== undefined && list !== path && !list.startsWith('/usr/')
      const place = isTheirs ? { path: realPath(files, list) } : own()
      const setting: SettingOf<'shell-argument'> = {
        kind: 'shell-argument',
        variable: VARIABLE,
        ...place,
        token,
        reason,
      }
      if (isEffective(config, '/etc/dracut.conf', [VARIABLE], setting, files.resolve)) return setting
      const what = `set ${VARIABLE} in a way that ${token} cannot be added to for certain`
      throw new UserError('contradiction', `dracut's files ${what}; add it there by hand; nothing was written`)
    },
  }
}

function readsFileAndFolder({ files }: Host): boolean {
  return /\bcmdline_dir=/.test(rawText(files, '/usr/bin/mkinitcpio') ?? '')
}

/** Finds the folder whose files a program reads after the file; `undefined`: it reads none, or there is none. */
function findDropInFolder({ files }: Host, tool: Parameters<typeof fileSource>[1]['tool']): string | undefined {
  if (tool === 'mkinitcpio') return DROP_INS
  const readers =
    tool === 'sdbootutil'
      ? [rawText(files, findProgram(files, tool)) ?? '']
      : kernelInstallPlugins(files).map(({ text }) => text)
  const isRead = readers.some((text) => text.includes('cmdline.d'))
  return isRead && (tool === 'sdbootutil' || findPath(files, KERNEL_DROP_INS) !== undefined)
    ? KERNEL_DROP_INS
    : undefined
}

/** Reads the files of that folder; sdbootutil reads all but hidden ones, and before them those of the vendor. */
function readLineDropIns(files: Reader, tool: string, folder: string): ShellFile[] {
  if (tool !== 'sdbootutil') return readShellFiles(files, filesEndingIn(files, folder, '.conf'))
  const own = filesEndingIn(files, folder, '')
  const vendor = filesEndingIn(files, VENDOR_DROP_INS, '')
  const isMasked = (path: string): boolean => own.includes(path.replace(VENDOR_DROP_INS, folder))
  return readShellFiles(files, [...vendor.filter((path) => !isMasked(path)), ...own])
}
