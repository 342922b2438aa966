import type { SettingOf } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { Host } from '../../lib/system/system.ts'
import { type AddedArgument, type ArgumentFile, inCommandLine } from './argument-settings.ts'
import { rawText, realPath } from './boot-files.ts'
import { readBootedLine } from './loader-variables.ts'

export const CMDLINE_FILE = '/etc/kernel/cmdline'
export const VENDOR_CMDLINE_FILE = '/usr/lib/kernel/cmdline'

/** Returns the arguments in /etc/kernel/cmdline; none where there is no such file. */
export function cmdlineArguments({ files }: Host): ConfiguredArgument[] {
  return argumentsInFile(CMDLINE_FILE, rawText(files, CMDLINE_FILE) ?? '', 'file')
}

/**
 * Returns the file that kernel-install(8) and makers of unified images take the command line from. Without it they take
 * the line of this boot, so a file of our own must hold all of that line, or the next kernel does not find its root.
 * `entries`: the lines of the present entries. Throws a UserError, code `unknown-system`, when the line is not known.
 */
export function kernelCmdline(host: Host, entries: readonly string[]): ArgumentFile {
  const { files } = host
  const path = realPath(files, CMDLINE_FILE)
  if (files.exists(CMDLINE_FILE)) return { path }
  const vendor = rawText(files, VENDOR_CMDLINE_FILE)
  const line = vendor === undefined ? wholeLine(host, entries) : withoutLoaderArgs(vendor.replace(/^#.*/gm, ' '))
  if (line !== undefined) return { path, head: `${line}\n` }
  throw new UserError('unknown-system', `${CMDLINE_FILE} is missing, and what it has to hold is not known here`, [
    `Write all kernel arguments of this system (root= first) as one line into ${CMDLINE_FILE}, and run this again.`,
  ])
}

/** Returns the settings that add tokens to that file. Throws the UserError of `kernelCmdline`. */
export function cmdlineSettings(
  host: Host,
  entries: readonly string[],
  tokens: readonly AddedArgument[],
): SettingOf<'command-line'>[] {
  const place = kernelCmdline(host, entries)
  return tokens.map((one) => inCommandLine('file', place, one))
}

/** Returns the whole command line of this system, from this boot or the entries; `undefined` if it is not certain. */
export function wholeLine(host: Host, entries: readonly string[]): string | undefined {
  const roots = new Set(entries.map(rootOf))
  const booted = readBootedLine(host)
  if (booted !== undefined && rootOf(booted) !== undefined && (entries.length === 0 || roots.has(rootOf(booted))))
    return withoutLoaderArgs(booted)
  const last = entries.at(-1)
  const sure = !host.running && roots.size === 1 && last !== undefined && rootOf(last) !== undefined
  return sure ? withoutLoaderArgs(last) : undefined
}

/** Removes what loaders add, and what frees devices for one boot. Source: 90-loaderentry.install in systemd. */
function withoutLoaderArgs(line: string): string {
  const tokens = parseCommandLine(line.trim()).map(({ token }) => token)
  return tokens.filter((token) => !/^(BOOT_IMAGE=|initrd=|vfio[-_]pci\.ids=$|vfio_scripts\.)/.test(token)).join(' ')
}

function rootOf(line: string): string | undefined {
  return parseCommandLine(line)
    .filter(({ name }) => name === 'root')
    .at(-1)?.value
}
