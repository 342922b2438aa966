import { type SettingOf, SHARED_HEAD } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { argumentsInVariable, type ConfiguredArgument, type ShellFile } from '../../lib/edit/shell-variables.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { findListFor, isEffective } from './argument-settings.ts'
import { filesEndingIn, rawText, readShellFiles, realPath } from './boot-files.ts'

// What grub-mkconfig makes GRUB's menu from: /etc/default/grub, and Debian's drop-ins.

export const GRUB_DEFAULTS = '/etc/default/grub'
const DROP_INS = '/etc/default/grub.d'
// Sorts behind what images and packages bring; with more of z behind a person's.
const OURS = /\/z+-vfio-scripts\.cfg$/
/** What normal entries get, besides what all get. */
export const NORMAL_VARIABLE = 'GRUB_CMDLINE_LINUX_DEFAULT'
/** In the order in which the kernel sees them. */
const VARIABLES = ['GRUB_CMDLINE_LINUX', NORMAL_VARIABLE]

/** Debian's and Ubuntu's grub-mkconfig read drop-ins; upstream's does not. Its own text says. */
function readsDropIns(files: Reader): boolean {
  const text = rawText(files, findProgram(files, 'grub-mkconfig') ?? findProgram(files, 'grub2-mkconfig'))
  return text === undefined ? files.exists(DROP_INS) : text.includes('default/grub.d')
}

/** The files that grub-mkconfig sources, in its order. */
export function readGrubDefaults(files: Reader): ShellFile[] {
  return readShellFiles(files, [GRUB_DEFAULTS, ...(readsDropIns(files) ? filesEndingIn(files, DROP_INS, '.cfg') : [])])
}

/** What normal entries get, in the order in which the kernel sees it. */
export function grubArguments(defaults: readonly ShellFile[]): ConfiguredArgument[] {
  return VARIABLES.flatMap((variable) => argumentsInVariable(defaults, variable))
}

/** The setting that gives normal entries a token. Throws a UserError, code `contradiction`, where none would for certain. */
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

/** Where an argument could go, the best place first. */
function candidateFiles(
  files: Reader,
  defaults: readonly ShellFile[],
  token: string,
): Pick<SettingOf<'shell-argument'>, 'path' | 'variable' | 'head'>[] {
  // Where a list of this name is, a member more goes into it; recovery entries have it already, then.
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
