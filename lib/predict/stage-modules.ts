import { type Directive, moduleName, parseIdLists } from '../edit/modprobe.ts'
import { covers, softdeps } from '../edit/modprobe-conflicts.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import type { BootStage, Cause } from '../system/boot.ts'
import { type KernelLine, kernelArgumentsOf, listedOnLine, refusedOnLine } from './kernel-line.ts'

/** A list of IDs that a module is given, and where. */
export interface IdsFrom {
  list: string
  cause: Cause
}

/** One module that a program loads. `sure`: false where only a program in modprobe.d knows whether it is loaded. */
export interface Loading {
  module: string
  options: string
  /** The place of the options. */
  from: Cause
  sure: boolean
}

/** What modprobe does in one stage of a boot. */
export interface StageModules {
  /** Returns the modules that loading this one loads, in order, itself included; those that are not there are left out. */
  chain(module: string, options?: string, from?: Cause): Loading[]
  /** Returns why the module is not loaded though it is there; `undefined`: nothing keeps it out. */
  keptOut(module: string, obeysBlacklist: boolean): Cause | undefined
  /** Returns every list of IDs that the module gets, in order: the last one counts. */
  idLists(module: string, by: 'kmod' | 'busybox', options?: Pick<Loading, 'options' | 'from'>): IdsFrom[]
}

/** Opens the modules of a stage for a kernel and its command line. Source: modprobe.d(5), libkmod-module.c of kmod. */
export function openStageModules(stage: BootStage, kernel: Kernel, line: KernelLine): StageModules {
  const { modprobe } = stage
  // A distribution's kernel has hundreds of softdeps, and each module that could be loaded is asked for.
  const byCommand = new Map<Directive['command'], Directive[]>()
  for (const one of modprobe) {
    const others = byCommand.get(one.command)
    if (others === undefined) byCommand.set(one.command, [one])
    else others.push(one)
  }
  const called = (command: Directive['command']): readonly Directive[] => byCommand.get(command) ?? []
  const first = (command: Directive['command'], module: string): Directive | undefined =>
    called(command).find((one) => covers(one.module, module))
  const blacklisted = ['modprobe.blacklist', ...(stage.blacklistArguments ?? [])].flatMap((name) =>
    listedOnLine(line, name),
  )
  // The kernel itself refuses these, whoever asks; not those that are built in.
  const refused = refusedOnLine(line)

  const isThere = (module: string): boolean =>
    stage.modules?.has(module) ?? !['builtin', 'absent'].includes(`${kernel.provides(module)}`)

  const keptOut = (module: string, obeysBlacklist: boolean): Cause | undefined => {
    if (!isThere(module)) return undefined
    const never = refused.find(({ member }) => member === module)
    if (never !== undefined) return never.cause
    const install = first('install', module)
    if (install !== undefined && neverLoads(install)) return causeOf(install)
    if (!obeysBlacklist) return undefined
    const line = called('blacklist').find((one) => one.module === module)
    return line === undefined ? blacklisted.find(({ member }) => member === module)?.cause : causeOf(line)
  }

  const chain = (module: string, options: string, from: Cause, above: readonly string[] = []): Loading[] => {
    const name = aliased(module)
    if (above.includes(name) || !isThere(name) || keptOut(name, false) !== undefined) return []
    const path = [...above, name]
    const softdep = first('softdep', name)
    const soft = (kind: 'pre' | 'post'): Loading[] =>
      softdep === undefined ? [] : softdeps(softdep, kind).flatMap((one) => chain(one, '', '', path))
    const needed = kernel.dependencies(name).flatMap((one) => chain(one, '', '', path))
    const install = first('install', name)
    // A command that calls modprobe for the module itself is one that does more with it.
    const sure = install === undefined || /\bmodprobe\b.*(-i|--ignore-install)/.test(install.rest)
    return [...soft('pre'), ...needed, { module: name, options, from, sure }, ...soft('post')]
  }

  const aliased = (module: string): string => {
    const name = moduleName(module)
    const alias = called('alias').find((one) => one.module === name)
    return alias === undefined ? name : moduleName(alias.rest.trim())
  }

  const idLists: StageModules['idLists'] = (module, by, { options, from } = { options: '', from: '' }) => {
    const inFiles = called('options')
      .filter((one) => one.module === module)
      .flatMap((one) => parseIdLists(one.rest).map(({ members }) => ({ list: members.join(','), cause: causeOf(one) })))
    const onLine = idListsOnLine(line, module, by)
    const beside = parseIdLists(options).map(({ members }) => ({ list: members.join(','), cause: from }))
    return [...inFiles, ...onLine, ...beside]
  }

  const known = new Map<string, Loading[]>()
  return {
    chain(module, options = '', from = '') {
      const key = [module, options, from].join('\n')
      const found = known.get(key) ?? eachModuleOnce(chain(module, options, from))
      known.set(key, found)
      return found
    },
    ...{ keptOut, idLists },
  }
}

/** Returns the lists of IDs for a module on the command line; busybox's modprobe knows the name with `_` only. */
export function idListsOnLine(line: KernelLine, module: string, by: 'kmod' | 'busybox' | 'kernel'): IdsFrom[] {
  return kernelArgumentsOf(line)
    .filter(({ name, token }) => name === `${module}.ids` && (by !== 'busybox' || token.startsWith(`${module}.`)))
    .map(({ token, value = '' }) => ({ list: value, cause: `${line.file}: ${token}` }))
}

function causeOf({ file, line, command, module, rest }: Directive): Cause {
  // A directive has its module's name with `_`; people write these with `-`.
  const name = module.replace(/^(vfio_pci|pci_stub)$/, (one) => one.replace('_', '-'))
  return `${file}:${line}: ${[command, name, rest.trim()].filter(Boolean).join(' ')}`
}

function neverLoads({ rest }: Directive): boolean {
  return /^(\/usr)?(\/s?bin\/)?(true|false|:|nologin)\b|^:/.test(rest.trim())
}

/** A module that is loaded already is not loaded again. */
function eachModuleOnce(loadings: readonly Loading[]): Loading[] {
  const seen = new Set<string>()
  return loadings.filter(({ module }) => !seen.has(module) && seen.add(module))
}
