import { Buffer } from 'node:buffer'
import { resolve } from 'node:path'
import type { FileChange, Plan } from '../change/plan.ts'
import { withoutUndo } from '../change/settings.ts'
import { writeTree } from '../change/write-tree.ts'
import { addArgument } from '../edit/kernel-arguments.ts'
import { parseCommandLine } from '../host/kernel.ts'
import { expectAllRead, unreadWarnings } from '../host/machine.ts'
import type { TreeEntry } from '../host/reader.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import type { Adapters, ImageBuild } from '../system/system.ts'
import type { Arguments } from '../terminal/options.ts'
import { type ChangeView, changeText } from '../views/answers.ts'
import { answerJson, type BindVfio } from '../views/changes.ts'
import type { Proposal } from './proposal.ts'
import type { Answer, Context } from './run-script.ts'

// A plan for the build of an image: the files that a person has it copy, in place of changes of this machine.

/** A folder of files for the build of an image. */
export interface ImageTree {
  folder: string
  build: ImageBuild
}

/**
 * Returns the folder that `--output` names for the build of this system's image; `undefined` where none is asked for,
 * or the system is none that is built so. The folder is one of this machine, whatever `--root`.
 */
export function requestedTree(given: Arguments, { bootloader, distro }: SystemFacts): ImageTree | undefined {
  const output = given.value('output')
  const { build } = bootloader.adapter ?? {}
  if (output === undefined || build === undefined || distro.adapter?.declarative !== undefined) return undefined
  return { folder: resolve(output), build }
}

/** Returns the facts by which a plan says what the build needs: its generator, and a loader that keeps nothing here. */
export function factsOfBuild<T extends SystemFacts>(facts: T, { build }: ImageTree, adapters: Adapters): T {
  const { bootloader } = facts
  const generator = adapters.openInitramfs(facts.host, build.initramfs)
  const none = { settings: () => [], commands: () => [], observe: () => [] }
  return {
    ...facts,
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

/** Returns the plan whose files are in the folder, with those for the kernel arguments, and the steps of the build. */
export function planOfTree(
  plan: Plan,
  { folder, build }: ImageTree,
  facts: SystemFacts,
  tokens: readonly string[],
): Plan {
  const names = new Set(tokens.map((token) => token.replace(/=.*/, '').replaceAll('-', '_')))
  const lists = facts.configured.filter(({ name, token }) => names.has(name) && /\.ids=/.test(token))
  const line = parseCommandLine(tokens.reduce(addArgument, lists.at(-1)?.token ?? '')).map(({ token }) => token)
  const made = build.argumentsFile(line)
  const reason = 'kernel arguments of every machine with the image'
  const args: FileChange = { kind: 'file', path: made.path, before: null, after: made.text, mode: 0o644, reason }
  const files = plan.changes.flatMap((change) => (change.kind === 'file' ? [change] : []))
  const changes = [...files, ...(line.length > 0 ? [args] : [])].map((change): FileChange => {
    const after = change.after === null ? null : withoutUndo(change.after)
    return { ...change, path: `${folder}${change.path}`, before: null, after }
  })
  const steps = changes.length > 0 ? build.steps(folder, files.length > 0) : []
  return { ...plan, changes, settings: [], notes: [...plan.notes, ...steps], rebootNeeded: false }
}

/** Shows such a plan, or with --apply writes its files as a new folder. Throws the UserErrors of `writeTree`. */
export function answerTree(
  context: Context,
  { plan, devices, findings, view }: Proposal,
  { folder }: ImageTree,
): Answer {
  const { arguments: given, script } = context
  const apply = given.flag('apply') && plan.changes.length > 0
  if (apply) {
    expectAllRead(context.machine)
    writeTree('/', folder, treeOf(plan, folder))
  }
  plan.notes.push(...unreadWarnings(context.machine))
  const json = answerJson(script, apply ? 'apply' : 'plan', plan, devices, findings)
  const done: BindVfio = { ...json, changed: apply }
  const facts = { json: done, pending: plan.changes.length > 0, cutShort: false, given, durations: {} }
  const own: ChangeView = {
    ...view,
    nothing: (above) => `${above}Nothing to write: the image has all of this.\n`,
    planned: 'Nothing was written. Add --apply.\n',
    applied: () => `Done: ${folder} holds these files. Nothing of this machine was changed.\n`,
  }
  return {
    code: apply || plan.changes.length === 0 ? 0 : 1,
    json: done,
    text: (style) => changeText(style, own, facts, apply ? [] : undefined),
  }
}

function treeOf({ changes }: Plan, folder: string): Map<string, TreeEntry> {
  const tree = new Map<string, TreeEntry>()
  for (const change of changes)
    if (change.kind === 'file' && change.after !== null)
      tree.set(change.path.slice(folder.length), { file: Buffer.from(change.after, 'latin1'), mode: change.mode })
  return tree
}
