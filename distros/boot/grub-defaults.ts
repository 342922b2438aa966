import { type SettingOf, SHARED_HEAD } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { argumentsInVariable, type ConfiguredArgument, type ShellFile } from '../../lib/edit/shell-variables.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { findListFor, isEffective } from './argument-settings.ts'
import { filesEndingIn, rawText, readShellFiles, realPath } from './boot-files.ts'

// The files that grub-mkconfig makes GRUB's menu from: /etc/default/grub, and Debian's drop-ins.

export const GRUB_DEFAULTS = '/etc/default/grub'
const DROP_INS = '/etc/default/grub.d'
// Sorts after the files of images and packages; with more letters z, also after a person's.
const OURS = /\/z+-vfio-scripts\.cfg$/
/** The variable whose arguments only normal entries get. */
export const NORMAL_VARIABLE = 'GRUB_CMDLINE_LINUX_DEFAULT'
/** The variables of normal entries, in the order in which the kernel sees them. */
const VARIABLES = ['GRUB_CMDLINE_LINUX', NORMAL_VARIABLE]

/** Does grub-mkconfig read drop-ins? Debian's and Ubuntu's does, upstream's does not: its own text tells. */
function readsDropIns(files: Reader): boolean {
  const text = rawText(files, findProgram(files, 'grub-mkconfig') ?? findProgram(files, 'grub2-mkconfig'))
  return text === undefined ? files.exists(DROP_INS) : text.includes('default/grub.d')
}

/** Reads the files that grub-mkconfig sources, in its order. */
export function readGrubDefaults(files: Reader): ShellFile[] {
  return readShellFiles(files, [GRUB_DEFAULTS, ...(readsDropIns(files) ? filesEndingIn(files, DROP_INS, '.cfg') : [])])
}

/** Returns the arguments of normal entries, in the order in which the kernel sees them. */
export function grubArguments(defaults: readonly ShellFile[]): ConfiguredArgument[] {
  return VARIABLES.flatMap((variable) => argumentsInVariable(defaults, variable))
}

/** Returns the setting that gives normal entries a token. Throws a UserError: `contradiction` if none surely does. */
export function grubSetting(
  files: Reader,
  defaults: readonly ShellFile[],
  { token, reason }: { token: string; reason: string },
): SettingOf<'shell-argument'> {
  const places = candidateFiles(files, defaults, token)
  const found = places
    .map((place): SettingOf<'shell-argument'> => ({ kind: 'shell-argument', token, reason, ...place }))
    .find((setting) => isEffective(defaults, GRUB_DEFAULTS, VARIABLES, setting, files.resolve))
  if (found !== undefined) return found
  const list = places.find(({ head }) => head === undefined)
  const setting = defaults.filter(({ text }) => text.includes(NORMAL_VARIABLE)).at(-1)
  const what = `sets ${list?.variable ?? NORMAL_VARIABLE} in a way that ${token} cannot be added to for certain`
  throw new UserError(
    'contradiction',
    `${list?.path ?? setting?.path ?? GRUB_DEFAULTS}: ${what}; add it there by hand; nothing was written`,
  )
}

/** Returns the files that an argument could be written to, the best first. */
function candidateFiles(
  files: Reader,
  defaults: readonly ShellFile[],
  token: string,
): Pick<SettingOf<'shell-argument'>, 'path' | 'variable' | 'head'>[] {
  // A list of this name gets one more member; recovery entries have that list already, then.
  const list = findListFor(grubArguments(defaults), token)
  if (list !== undefined && !OURS.test(list.file))
    return [{ path: realPath(files, list.file), variable: list.variable }]
  if (!readsDropIns(files)) return [{ path: realPath(files, GRUB_DEFAULTS), variable: NORMAL_VARIABLE }]
  const folder = realPath(files, DROP_INS)
  const longest = Math.max(1, ...defaults.map(({ path }) => /\/(z*)[^/]*$/.exec(path)?.[1]?.length ?? 0))
  return Array.from({ length: longest }, (_, more) => ({
    path: `${folder}/${'z'.repeat(more + 2)}-vfio-scripts.cfg`,
    head: SHARED_HEAD,
    variable: NORMAL_VARIABLE,
  }))
}
