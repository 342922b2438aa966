import type { KernelReport } from '../bind/kernel-report.ts'
import { diffLines } from '../change/diff.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import type { Change, Plan } from '../change/plan.ts'
import type { BindState } from '../checks/binding-status.ts'
import type { Finding } from '../core/finding.ts'
import type { PciDevice } from '../host/pci.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'
import type { Arguments, Script } from '../terminal/options.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import type { TuneState } from '../tune/tuning-status.ts'

/** One change as `--json` prints it: `+` new file, `~` edited file, `-` removed file, `>` command, `=` driver. */
export interface ChangeJson {
  sign: '+' | '~' | '-' | '>' | '='
  path?: string
  /** The address of a function that gets another driver. */
  address?: string
  driver?: { before: string | null; after: string | null }
  command?: readonly string[]
  /** Is the command left to the next run (`--boot-files-later`)? */
  later?: true
  reason: string
  /** The lines of a file that differ and two around them, each with its sign. */
  diff?: string[]
}

/** The value that bind-vfio prints with `--json`. */
export interface BindVfio {
  /** `vfio-scripts/bind-vfio/1`, or with the name of the script that answers. */
  schema: string
  action: 'plan' | 'apply' | 'status' | 'kernel-config' | 'predict'
  /** Was anything written? */
  changed: boolean
  /** Does what is (or would be) written take effect only with the next boot? */
  rebootNeeded: boolean
  /** The state of what was set up, with `--status`. */
  state?: BindState | TuneState
  devices: (PciDevice | BoundFunction)[]
  changes: ChangeJson[]
  /** Commands that are left to the person. */
  commands: (readonly string[])[]
  notes: string[]
  findings: Finding[]
  /** Changes left by a run that was cut short; the next run that applies anything puts them back first. */
  cutShort?: ChangeJson[]
  /** Who has each device after a boot: by the files as they are now, or with the plan. */
  boots?: PredictedBoot[]
  /** The settings that each kernel configuration lacks, with `--kernel-config`. */
  kernels?: KernelReport[]
}

/** Returns a change as `--json` prints it. */
export function changeJson(change: Change): ChangeJson {
  const { reason } = change
  if (change.kind === 'command')
    return { sign: '>', command: change.argv, ...(change.later ? { later: true } : {}), reason }
  if (change.kind === 'driver') {
    const { address, before, after } = change
    return { sign: '=', address, driver: { before, after }, reason }
  }
  const { path, before, after } = change
  return { sign: before === null ? '+' : after === null ? '-' : '~', path, reason, diff: diffLines(before, after) }
}

/** Returns the answer of a script with a plan that was not applied. */
export function answerJson(
  { name }: Script,
  action: BindVfio['action'],
  plan: Plan,
  devices: BindVfio['devices'],
  findings: Finding[],
  cutShort: readonly Change[] = [],
): BindVfio {
  const { notes, rebootNeeded } = plan
  const changes = plan.changes.map(changeJson)
  return {
    schema: `vfio-scripts/${name}/1`,
    action,
    changed: false,
    rebootNeeded,
    devices,
    changes,
    commands: [],
    notes,
    findings,
    ...(cutShort.length > 0 ? { cutShort: cutShort.map(changeJson) } : {}),
  }
}

const COLORS = { '+': 'green', '-': 'red', '~': 'yellow', '>': 'cyan', '=': 'yellow' } as const

/** The number of lines up to which a file is shown whole. */
const LONG = 24

/**
 * Returns the lines of a change that are shown. Of a long file that comes or goes as a whole, those that are of this
 * machine: they are marked `#=`; in what is the same everywhere nobody finds them.
 */
function shownLines(sign: ChangeJson['sign'], diff: readonly string[]): string[] {
  const marked = diff.filter((line) => line.slice(1).startsWith('#='))
  const own = marked.length > 0 ? marked : programHead(diff)
  if (own.length === 0 || sign === '~' || diff.length <= LONG) return [...diff]
  return [...own, ` (${diff.length - own.length} lines that are the same on every machine: --verbose shows them)`]
}

/** Returns the comment above a shell program that has nothing of this machine in it; none for another file. */
function programHead(diff: readonly string[]): string[] {
  const lines = diff.map((line) => line.slice(1))
  const end = lines.findIndex((line) => line !== '' && !line.startsWith('#'))
  const head = diff.slice(0, Math.max(0, end))
  return head.some((line) => line.slice(1).startsWith('# shellcheck')) || lines[0] === '#!/bin/sh'
    ? head.filter((line) => /^.# (?!shellcheck)/.test(line))
    : []
}

/** Returns changes as text, with reasons and the lines that differ; `durations`: seconds of commands the last time. */
export function changesText(
  style: TerminalStyle,
  changes: readonly ChangeJson[],
  { durations = {}, whole = false }: { durations?: Readonly<Record<string, number>>; whole?: boolean } = {},
): string {
  const heads = changes.map(({ path, command, address, driver }) =>
    printable(
      path ??
        command?.map(shellWord).join(' ') ??
        `${address}: ${driver?.before ?? 'no driver'} → ${driver?.after ?? 'no driver'}`,
    ),
  )
  const width = Math.min(44, Math.max(0, ...heads.map(({ length }) => length)))
  return changes
    .map(({ sign, command, later, reason, diff }, index) => {
      const seconds = durations[command?.join(' ') ?? '']
      const why =
        printable(reason) +
        (later ? ', by the next run' : '') +
        (seconds === undefined ? '' : ` (${Math.ceil(seconds)} s the last time)`)
      const head = `  ${paint(style, COLORS[sign], sign)} ${(heads[index] ?? '').padEnd(width)}  ${why}`
      const lines = (whole ? (diff ?? []) : shownLines(sign, diff ?? [])).map(
        (line) => `      ${paint(style, diffColor(line), printable(line))}`,
      )
      return `${[head, ...lines].join('\n')}\n`
    })
    .join('')
}

/** Returns the colour of a line by its sign. */
export function diffColor(line: string): 'green' | 'red' | undefined {
  return line.startsWith('+') ? 'green' : line.startsWith('-') ? 'red' : undefined
}

/** Returns a word as a shell reads it, quoted only where it must be. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** Returns findings as text, a line each, with its evidence and what to do next. */
export function findingsText(style: TerminalStyle, findings: readonly Finding[]): string {
  const marks = {
    ok: paint(style, 'green', 'ok     '),
    problem: paint(style, 'red', 'problem'),
    unknown: paint(style, 'yellow', 'unknown'),
  }
  return findings
    .map(({ state, summary, evidence, next }) => {
      const lines = [...evidence, ...(next === null || state === 'ok' ? [] : [`→ ${next}`])]
      const text = [`  ${marks[state]}  ${printable(summary)}`, ...lines.map((line) => `           ${printable(line)}`)]
      return `${text.join('\n')}\n`
    })
    .join('')
}

/** Returns the text on commands that are left to the person. */
export function leftText(printed: readonly (readonly string[])[], given: Arguments): string {
  const root = given.value('root')
  const chroot = root === undefined || root === '/' ? '' : `chroot ${shellWord(root)} `
  const lines = printed.map((argv) => `  ${chroot}${argv.map(shellWord).join(' ')}\n`).join('')
  return `The files are written. Now run these, or nothing takes effect:\n${lines}\n`
}

/** Returns the notes as text: what was decided and why, and what is left to do. */
export function notesText(notes: readonly string[]): string {
  return notes.length === 0 ? '' : `\n${notes.map((note) => `  note: ${printable(note)}\n`).join('')}`
}
