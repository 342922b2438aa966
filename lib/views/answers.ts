import type { Claim } from '../change/journal.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import type { BindStatus } from '../checks/binding-status.ts'
import type { Finding } from '../core/finding.ts'
import type { IommuGroup } from '../host/iommu.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Arguments, Script } from '../terminal/options.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { type BindVfio, changesText, findingsText, leftText, notesText, shellWord } from './changes.ts'
import { addressFormatter, deviceName } from './devices.ts'

export interface PlanView {
  script: Script
  json: BindVfio
  selected: readonly PciDevice[]
  all: readonly PciDevice[]
  groups: readonly IommuGroup[]
  /** Seconds that a command took the last time. */
  durations: Readonly<Record<string, number>>
  /** How to reach the boot menu. */
  bootMenu: string | undefined
  given: Arguments
  /** Was a run cut short, so that not even what is there is whole? */
  cutShort: boolean
  /** A whole file for the person to put somewhere, and no place for it yet. */
  printsModule?: boolean
}

/** The plan of a binding: which devices, what changes and why, how to go on and how to go back. */
export function planText(style: TerminalStyle, view: PlanView): string {
  const { json, script, given } = view
  const head = deviceText(style, view) + openFindingsText(style, json.findings) + cutShortText(style, json)
  if (json.changes.length === 0 && view.cutShort) return `${head}${notesText(json.notes)}\nAdd --apply.\n`
  if (json.changes.length === 0)
    return `${head}${notesText(json.notes)}\n${hasKernelProblem(json.findings) ? 'Nothing to write, but the kernel lacks what is named above' : 'Nothing to do: all of this is set up'}. See ${script.name} --status.\n`
  if (view.printsModule)
    return `${head}\n${moduleFileText(json)}${notesText(json.notes)}\nNothing was written. Save this, or add --output FILE --apply.\n`
  const root = given.value('root')
  const own = `${script.name}${root === undefined ? '' : ` --root ${shellWord(root)}`}`
  return `${head}\n${changesText(style, json.changes, view.durations)}${notesText(json.notes)}
After the reboot:       ${own} --status
To take it back:        ${own} --undo --apply
If it does not boot:    ${printable(view.bootMenu ?? BOOT_ESCAPE)}
Nothing was written. Add --apply.
`
}

/** What a run that was cut short left, and is put back first. */
export function cutShortText(style: TerminalStyle, { cutShort = [] }: BindVfio): string {
  return cutShort.length === 0 ? '' : `\nFirst, what was cut short is taken back:\n\n${changesText(style, cutShort)}`
}

/** A file as it stands, for copying. */
export function moduleFileText({ changes: [change] }: BindVfio): string {
  const lines = (change?.diff ?? []).filter((line) => !line.startsWith('-')).map((line) => line.slice(1))
  return `${lines.map(printable).join('\n')}\n`
}

const BOOT_ESCAPE = 'in the boot menu, append vfio-pci.ids= vfio_scripts.override=off to the kernel command line'

/** What was done, and what is left to do. */
export function appliedText(style: TerminalStyle, view: PlanView, printed: readonly (readonly string[])[]): string {
  const { script, json } = view
  return `${deviceText(style, view)}\n${changesText(style, json.changes, view.durations)}${notesText(json.notes)}
${printed.length > 0 ? leftText(printed, view.given) : 'Done. '}Reboot, then:           ${script.name} --status
To take it back:        ${script.name} --undo --apply
If it does not boot:    ${printable(view.bootMenu ?? BOOT_ESCAPE)}
`
}

/** Guards that could not look, and what the kernel lacks; a person decides whether to go on. */
function openFindingsText(style: TerminalStyle, findings: readonly Finding[]): string {
  const unreadable = findings.filter((one) => one.state === 'unknown' || hasKernelProblem([one]))
  return unreadable.length === 0 ? '' : `\n${findingsText(style, unreadable)}`
}

/** Nothing that is written helps against a kernel that lacks something. */
export function hasKernelProblem(findings: readonly Finding[]): boolean {
  return findings.some(({ code, state }) => code === 'kernel-config' && state === 'problem')
}

function deviceText(style: TerminalStyle, { script, selected, all, groups }: PlanView): string {
  const address = addressFormatter(all, false)
  const numbers = [...new Set(selected.map(({ group }) => group))]
  const lines = selected.map((device) => {
    const id = `[${device.vendor.id}:${device.device.id}]`
    return `  ${paint(style, 'bold', address(device.address))}  ${printable(`${deviceName(device)} ${id}, ${device.driver ?? 'no driver'} now`)}\n`
  })
  const place = numbers.map((number) => {
    if (number === null) return 'no IOMMU group'
    const bridges = groups.find(({ id }) => id === number)?.devices.some(({ bridge }) => bridge)
    return `IOMMU group ${number} (${bridges ? 'bridges aside, ' : ''}nothing else in it)`
  })
  const count = `${selected.length} function${selected.length === 1 ? '' : 's'}`
  return `${paint(style, 'bold', script.name)}: ${count}, ${place.join(', ')}\n${lines.join('')}`
}

export interface UndoView {
  script: Script
  json: BindVfio
  functions: readonly BoundFunction[]
  claims: readonly Claim[]
  /** Other scripts of the toolkit that have something to take back. */
  others: readonly string[]
  durations: Readonly<Record<string, number>>
  given: Arguments
}

/** The plan of an undo; with `printed`, what was done. */
export function undoneText(
  style: TerminalStyle,
  view: UndoView,
  printed: readonly (readonly string[])[] | undefined,
): string {
  const { script, json, functions, claims, given } = view
  if (claims.length === 0 && json.notes.length > 0)
    return `${script.name} --undo:\n${cutShortText(style, json)}${notesText(json.notes)}\nAdd --apply.\n`
  if (claims.length === 0)
    return `${script.name}: nothing to take back.${view.others.map((name) => ` What ${name} set up goes with ${name} --undo --apply.`).join('')}\n`
  const names = functions.map(({ address, vendor, device }) => `${address} [${vendor}:${device}]`).join(', ')
  const title = `${paint(style, 'bold', `${script.name} --undo`)}: ${names || featureNames(claims)}\n`
  const head = title + cutShortText(style, json)
  const body = `${head}\n${changesText(style, json.changes, view.durations)}${notesText(json.notes)}\n`
  if (printed === undefined) return `${body}Nothing was written. Add --apply.\n`
  return `${body}${printed.length > 0 ? leftText(printed, given) : ''}Taken back. ${rebootText(json, functions)}\n`
}

function rebootText({ rebootNeeded }: BindVfio, functions: readonly BoundFunction[]): string {
  if (!rebootNeeded) return ''
  return functions.length > 0
    ? 'Reboot: the devices go back to their drivers with the next boot.\n'
    : 'Reboot: it is in force until then.\n'
}

/** What was set up for no device. */
function featureNames(claims: readonly Claim[]): string {
  const names = [...new Set(claims.map(({ owner }) => owner))].filter((name) => name !== 'host')
  return names.join(', ') || 'the kernel arguments'
}

/** The state, then each point with its evidence. */
export function statusText(style: TerminalStyle, script: string, { state, functions, findings }: BindStatus): string {
  const colors = { bound: 'green', none: 'dim', 'reboot-needed': 'yellow', drifted: 'red', moved: 'red' } as const
  const what = {
    bound: 'all is as planned',
    none: 'nothing is set up',
    'reboot-needed': 'set up, but not in force before the next boot',
    drifted: 'not as planned',
    moved: 'a card is at another address than it was',
  }
  const names = functions.map(({ address }) => address).join(', ')
  return `${script}: ${paint(style, colors[state], state)}: ${what[state]}${names === '' ? '' : ` (${names})`}\n${findingsText(style, findings)}`
}

export interface LiveView {
  script: Script
  json: BindVfio
  releasing: boolean
  applied: boolean
}

/** Drivers that change at once: the plan, or what was done. */
export function liveText(style: TerminalStyle, { script, json, releasing, applied }: LiveView): string {
  const name = `${script.name} --now${releasing ? ' --undo' : ''}`
  if (json.changes.length === 0) return `${name}: nothing to do.\n`
  const body = `${paint(style, 'bold', name)}:\n\n${changesText(style, json.changes)}${notesText(json.notes)}\n`
  if (!applied) return `${body}Nothing was changed. Add --apply.\n`
  return `${body}Done.${releasing ? '' : ` To take it back: ${script.name} --now --undo --apply`}\n`
}
