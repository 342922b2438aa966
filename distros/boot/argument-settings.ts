import { addSetting, type SettingOf } from '../../lib/change/settings.ts'
import type { CommandLineLayout } from '../../lib/edit/command-line.ts'
import { hasArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import {
  argumentsInVariable,
  type ConfiguredArgument,
  type ShellFile,
  sureLine,
} from '../../lib/edit/shell-variables.ts'

/** A kernel argument to set, and the reason for it. */
export interface AddedArgument {
  token: string
  reason: string
}

/** A file that an argument is written into; `head` is the start of a file of our own. */
export interface ArgumentFile {
  path: string
  head?: string
}

/** Returns the setting of an argument in a file that is a command line (`file`), or in an entry's `options`. */
export function inCommandLine(
  layout: CommandLineLayout,
  { path, head }: ArgumentFile,
  { token, reason }: AddedArgument,
): SettingOf<'command-line'> {
  return { kind: 'command-line', layout, path, ...(head === undefined ? {} : { head }), token, reason }
}

/** Returns the setting of an argument that a tool keeps in its own way; the tool's commands add and remove it. */
export function keptBy(tool: string, { token, reason }: AddedArgument): SettingOf<'external'> {
  return { kind: 'external', tool, path: '', token, reason }
}

/** Finds the list that a token such as `vfio-pci.ids=10de:1cb6` must join, because the kernel takes the last of two. */
export function findListFor(current: readonly ConfiguredArgument[], token: string): ConfiguredArgument | undefined {
  const name = token.replace(/=.*/, '').replaceAll('-', '_')
  return isListMember(token) ? current.filter((one) => one.name === name && one.value !== '').at(-1) : undefined
}

/**
 * Would the kernel get the argument, given the other files? `sources` are the files whose variables make the command
 * line, in the order in which they are read: `main` first, then drop-ins by name. `pathOf` returns the path of such a
 * file without links.
 */
export function isEffective(
  sources: readonly ShellFile[],
  main: string,
  variables: readonly string[],
  setting: SettingOf<'shell-argument'>,
  pathOf: (path: string) => string | undefined,
): boolean {
  const own = sources.find(({ path }) => pathOf(path) === setting.path)
  const after = { path: own?.path ?? setting.path, text: addSetting(own?.text ?? null, setting) }
  const nameOf = ({ path }: ShellFile): string => (path === main ? '' : path.replace(/.*\//s, ''))
  const last = sources.findIndex((one) => nameOf(one) > nameOf(after))
  const place = last < 0 ? sources.length : last
  const all =
    own === undefined
      ? [...sources.slice(0, place), after, ...sources.slice(place)]
      : sources.map((one) => (one === own ? after : one))
  return hasArgument(sureLine(variables.flatMap((name) => argumentsInVariable(all, name))), setting.token)
}
