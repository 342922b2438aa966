import { dirname, resolve } from 'node:path'
import type { ClaimKind } from '../change/journal-entry.ts'
import { changesFor, commandsOf, type FileChange, type Plan } from '../change/plan.ts'
import { addSetting, isInOwnFile, withoutUndo } from '../change/settings.ts'
import { contentReader } from '../change/undo.ts'
import { makeFolder, replaceFile } from '../change/write.ts'
import { UserError } from '../core/error.ts'
import { addArgument, isListMember } from '../edit/kernel-arguments.ts'
import { parseCommandLine } from '../host/kernel.ts'
import { expectAllRead, unreadWarnings } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import type { Adapters, ImageBuild } from '../system/system.ts'
import { type Arguments, usageError } from '../terminal/options.ts'
import { type ChangeView, changeText } from '../views/answers.ts'
import { answerJson, type BindVfio } from '../views/changes.ts'
import type { Proposal } from './proposal.ts'
import type { Answer, Context } from './run-script.ts'

// A plan for the build of an image: the files that a person has it copy, in place of changes of this machine.

/** The help of --output for scripts whose plans an image can have. */
export const TREE_HELP =
  'on NixOS: the module to write, which you import; of a bootc image: a folder for its Containerfile'

/** A folder of files for the build of an image. */
export interface ImageTree {
  folder: string
  build: ImageBuild
}

/**
 * Returns the folder that `--output` names for the build of this system's image; `undefined` where none is asked for,
 * or the system is none that is built so. The folder is one of this machine, whatever `--root`. Throws a UserError with
 * code `usage` for options that only changes of this machine have.
 */
export function requestedTree(given: Arguments, facts: SystemFacts): ImageTree | undefined {
  const output = given.value('output')
  if (output === undefined || ['status', 'undo', 'confirm', 'choose'].some((name) => given.flag(name))) return undefined
  const { bootloader, distro } = facts
  const { build } = bootloader.adapter ?? {}
  if (build === undefined || distro.adapter?.declarative !== undefined) return undefined
  const live = ['confirm-within', 'boot-files-later', 'no-commands'].find(
    (name) => given.flag(name) || given.value(name) !== undefined,
  )
  if (live !== undefined) throw usageError(`--${live} is for changes of this machine: leave it out with --output`)
  return { folder: resolve(output), build }
}

/** Returns the facts by which a plan says what the build needs: its tools, and a loader that keeps nothing here. */
export function factsOfBuild<T extends SystemFacts>(facts: T, { build }: ImageTree, adapters: Adapters): T {
  const { bootloader, distro } = facts
  const generator = adapters.openInitramfs(facts.host, build.initramfs)
  const manager = distro.adapter?.packages
  const packages = manager && { ...manager, unattended: manager.unattended ?? { install: build.install, remove: [] } }
  const none = { settings: () => [], commands: () => [], observe: () => [] }
  return {
    ...facts,
    host: { ...facts.host, running: false },
    distro: packages && distro.adapter ? { ...distro, adapter: { ...distro.adapter, packages } } : distro,
    bootloader: bootloader.adapter
      ? { ...bootloader, adapter: { ...bootloader.adapter, ...none, isManual: () => false } }
      : bootloader,
    initramfs: {
      why: facts.initramfs.why,
      adapter: generator && {
        ...generator,
        makesEntries: true,
        isManual: () => false,
        images: () => [],
        commands: () => [],
      },
    },
  }
}

/**
 * Returns the plan whose files are in the folder, with those for the kernel arguments, and the steps of the build.
 * Throws a UserError with code `exists` for a file that the folder has with another content.
 */
export function planOfTree(
  plan: Plan,
  { folder, build }: ImageTree,
  facts: SystemFacts,
  tokens: readonly string[],
  kind: ClaimKind,
): Plan {
  const { files } = facts.host
  const there = openReader('/').exists(folder) ? openReader(folder) : undefined
  const own = new Set(plan.settings.filter(isInOwnFile).map(({ path }) => path))
  const read = contentReader(files)
  // What is ours on this machine is of its own plans.
  const made = changesFor(plan.settings, (path) => (own.has(path) ? null : read(path)), addSetting)
  const line = lineOfImage(facts, tokens)
  const { path, text } = build.argumentsFile(line, kind)
  const reason = 'kernel arguments of every machine with the image'
  const args: FileChange = { kind: 'file', path, before: null, after: text, mode: 0o644, reason }
  const all = [...made, ...(line.length > 0 ? [args] : [])].map((change) => {
    return {
      ...change,
      before: there ? contentReader(there)(change.path) : null,
      after: withoutUndo(change.after ?? ''),
    }
  })
  const other = all.find(({ before, after }) => before !== null && before !== after)
  if (other !== undefined)
    throw new UserError(
      'exists',
      `${folder}${other.path}: is there already and says something else; name a new folder, or give all cards (all settings) in one call`,
    )
  const changes = all
    .filter(({ before }) => before === null)
    .map((change): FileChange => ({ ...change, path: `${folder}${change.path}` }))
  const commands = commandsOf(plan).map(({ argv }) => argv)
  const initramfs = kind === 'binding' ? made.length > 0 : (there?.exists(build.initramfsFile) ?? false)
  const steps = all.length + commands.length > 0 ? build.steps(folder, { initramfs, commands }) : []
  return { ...plan, changes, settings: [], notes: [...plan.notes, ...steps], rebootNeeded: false }
}

/** Returns the arguments for the image: lists have what the last list of this system has too. */
function lineOfImage({ configured }: SystemFacts, tokens: readonly string[]): string[] {
  const names = new Set(tokens.flatMap(parseCommandLine).map(({ name }) => name))
  const lists = configured.filter(({ name, token }) => names.has(name) && isListMember(token))
  const last = [...new Map(lists.map(({ name, token }) => [name, token])).values()].join(' ')
  return parseCommandLine(tokens.reduce(addArgument, last)).map(({ token }) => token)
}

/** Shows such a plan, or with --apply writes its files. Throws the UserErrors of `replaceFile`. */
export async function answerTree(
  context: Context,
  { plan, devices, findings, view }: Proposal,
  { folder }: ImageTree,
): Promise<Answer> {
  const { arguments: given, script } = context
  const apply = given.flag('apply') && plan.changes.length > 0
  if (apply) {
    expectAllRead(context.machine)
    await writeFiles(plan, folder)
  }
  plan.notes.push(...unreadWarnings(context.machine))
  const json = answerJson(script, apply ? 'apply' : 'plan', plan, devices, findings)
  const done: BindVfio = { ...json, changed: apply }
  const facts = { json: done, pending: plan.changes.length > 0, cutShort: false, given, durations: {} }
  const own: ChangeView = {
    ...view,
    nothing: (above) => `${above}No file to write: the folder or the image has them all.\n`,
    planned: '',
    applied: () => `Done: ${folder} holds these files. Nothing of this machine was changed.\n`,
    printsModule: false,
  }
  return {
    code: apply || plan.changes.length === 0 ? 0 : 1,
    json: done,
    text: (style) => changeText(style, own, facts, apply ? [] : undefined),
  }
}

/** Writes the files one by one: where that ends early, the next run writes the rest. */
async function writeFiles({ changes }: Plan, folder: string): Promise<void> {
  makeFolder('/', folder)
  for (const change of changes) {
    if (change.kind !== 'file') continue
    const path = change.path.slice(folder.length)
    for (const one of foldersAbove(path)) makeFolder(folder, one)
    await replaceFile(folder, path, change.after, change.mode)
  }
}

function foldersAbove(path: string): string[] {
  const above = dirname(path)
  return above === '/' ? [] : [...foldersAbove(above), above]
}
