import type { KernelReport } from '../bind/kernel-report.ts'
import { diffLines } from '../change/diff.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import type { Change, Plan } from '../change/plan.ts'
import type { BindState } from '../checks/binding-status.ts'
import type { Finding } from '../core/finding.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Arguments, Script } from '../terminal/options.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import type { TuneState } from '../tune/tuning-status.ts'

/** One change as `--json` prints it: `+` a new file, `~` an edited one, `-` a removed one, `>` a command, `=` a driver. */
export interface ChangeJson {
  sign: '+' | '~' | '-' | '>' | '='
  path?: string
  /** A function that gets another driver; `null`: none. */
  address?: string
  driver?: { before: string | null; after: string | null }
  command?: readonly string[]
  reason: string
  /** Of a file: the lines that differ and two around them, each with its sign. */
  diff?: string[]
}

/** What bind-vfio prints with `--json`. */
export interface BindVfio {
  /** `vfio-scripts/bind-vfio/1`, or with the name of the script that answers. */
  schema: string
  action: 'plan' | 'apply' | 'status' | 'kernel-config'
  /** Was anything written? */
  changed: boolean
  /** Does what is (or would be) written take effect with the next boot only? */
  rebootNeeded: boolean
  /** With `--status`. */
  state?: BindState | TuneState
  devices: (PciDevice | BoundFunction)[]
  changes: ChangeJson[]
  /** Commands that are left to the person. */
  commands: (readonly string[])[]
  notes: string[]
  findings: Finding[]
  /** What a run that was cut short left, and the next one that applies anything puts back first. */
  cutShort?: ChangeJson[]
  /** With `--kernel-config`: what each configuration lacks. */
  kernels?: KernelReport[]
}

export function changeJson(change: Change): ChangeJson {
  const { reason } = change
  if (change.kind === 'command') return { sign: '>', command: change.argv, reason }
  if (change.kind === 'driver') {
    const { address, before, after } = change
    return { sign: '=', address, driver: { before, after }, reason }
  }
  const { path, before, after } = change
  return { sign: before === null ? '+' : after === null ? '-' : '~', path, reason, diff: diffLines(before, after) }
}

/** The answer of a script with a plan that was not applied. */
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

/** A plan's changes, each with its reason and the lines that differ; `took`: seconds of a command the last time. */
export function changesText(
  style: TerminalStyle,
  changes: readonly ChangeJson[],
  durations: Readonly<Record<string, number>> = {},
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
    .map(({ sign, command, reason, diff }, index) => {
      const seconds = durations[command?.join(' ') ?? '']
      const why = printable(reason) + (seconds === undefined ? '' : ` (${Math.ceil(seconds)} s the last time)`)
      const head = `  ${paint(style, COLORS[sign], sign)} ${(heads[index] ?? '').padEnd(width)}  ${why}`
      const lines = (diff ?? []).map((line) => `      ${paint(style, diffColor(line), printable(line))}`)
      return `${[head, ...lines].join('\n')}\n`
    })
    .join('')
}

/** Of a line with its sign. */
export function diffColor(line: string): 'green' | 'red' | undefined {
  return line.startsWith('+') ? 'green' : line.startsWith('-') ? 'red' : undefined
}

/** A word as a shell reads it, quoted only where it must be. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** Findings, a line each with its evidence and what to do next; those that are well only when all are asked for. */
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

/** Commands that are left to the person. */
export function leftText(printed: readonly (readonly string[])[], given: Arguments): string {
  const root = given.value('root')
  const chroot = root === undefined || root === '/' ? '' : `chroot ${shellWord(root)} `
  const lines = printed.map((argv) => `  ${chroot}${argv.map(shellWord).join(' ')}\n`).join('')
  return `The files are written. Now run these, or nothing takes effect:\n${lines}\n`
}

/** What was decided and why, what is left to do. */
export function notesText(notes: readonly string[]): string {
  return notes.length === 0 ? '' : `\n${notes.map((note) => `  note: ${printable(note)}\n`).join('')}`
}
