import { addSetting, type SettingOf } from '../../lib/change/settings.ts'
import type { CommandLineLayout } from '../../lib/edit/command-line.ts'
import { hasArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import {
  argumentsInVariable,
  type ConfiguredArgument,
  type ShellFile,
  sureLine,
} from '../../lib/edit/shell-variables.ts'

/** A kernel argument that is to be set, and why. */
export interface RequiredArgument {
  token: string
  reason: string
}

/** A file that an argument goes into; `head`: what it starts with, if it is ours. */
export interface ArgumentFile {
  path: string
  head?: string
}

/** The argument in a file that is a command line (`file`), or in an entry's `options`. */
export function inCommandLine(
  layout: CommandLineLayout,
  { path, head }: ArgumentFile,
  { token, reason }: RequiredArgument,
): SettingOf<'command-line'> {
  return { kind: 'command-line', layout, path, ...(head === undefined ? {} : { head }), token, reason }
}

/** What a tool keeps in a way of its own, which its commands add and remove. */
export function keptBy(tool: string, { token, reason }: RequiredArgument): SettingOf<'external'> {
  return { kind: 'external', tool, path: '', token, reason }
}

/** The list that a token such as `vfio-pci.ids=10de:1cb6` has to go into, for of two the kernel takes the last. */
export function findListFor(current: readonly ConfiguredArgument[], token: string): ConfiguredArgument | undefined {
  const name = token.replace(/=.*/, '').replaceAll('-', '_')
  return isListMember(token) ? current.filter((one) => one.name === name && one.value !== '').at(-1) : undefined
}

/**
 * Would the kernel get the argument, with all that the other files do? `sources`: the files in which variables make a
 * command line: `main` first, and drop-ins by name; `pathOf`: such a file without links.
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
  const all = [...sources.filter((one) => one !== own), after]
  all.sort((one, other) => (nameOf(one) < nameOf(other) ? -1 : 1))
  return hasArgument(sureLine(variables.flatMap((name) => argumentsInVariable(all, name))), setting.token)
}
