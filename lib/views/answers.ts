import type { Claim } from '../change/journal.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import type { Finding } from '../core/finding.ts'
import type { PciFacts } from '../host/machine.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Arguments, Script } from '../terminal/options.ts'
import { type Color, paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { type BindVfio, changesText, findingsText, leftText, notesText, shellWord } from './changes.ts'
import { addressFormatter, deviceName } from './devices.ts'
import { predictionsText } from './predictions.ts'

/** The texts around the changes themselves, by which people are told of a change. */
export interface ChangeView {
  /** Returns the title, the subject, and what speaks against it; `done`: it was applied. */
  head(style: TerminalStyle, done: boolean): string
  /** Returns the whole text when nothing is to be done; `above`: the head and the notes. */
  nothing(above: string): string
  /** The text on what follows the plan. */
  planned: string
  /** The line that says that nothing was done, where files are not the matter. */
  notDone?: string
  /** Returns the text on how to go on now; `left`: the commands that are left to the person, or an empty text. */
  applied(left: string): string
  /** Returns an address as it is written for people. */
  address?(full: string): string
  /** Is one new file shown whole, for the person to put somewhere, as long as no place for it was named? */
  printsModule?: boolean
}

/** The plan, and the facts that are shown with it. */
export interface ChangeFacts {
  json: BindVfio
  /** Is there anything to apply? */
  pending: boolean
  /** Was a run cut short, so that even the present files are not whole? */
  cutShort: boolean
  given: Arguments
  /** Command → seconds that it took the last time. */
  durations: Readonly<Record<string, number>>
}

/** Returns the plan as text: changes, reasons, how to go on and back; `printed`: commands left once it was applied. */
export function changeText(
  style: TerminalStyle,
  view: ChangeView,
  { json, pending, cutShort, given, durations }: ChangeFacts,
  printed?: readonly (readonly string[])[],
): string {
  const { changes, cutShort: broken = [] } = json
  const whole = given.flag('verbose')
  const first =
    broken.length === 0 ? '' : `\nFirst, what was cut short is taken back:\n\n${changesText(style, broken, { whole })}`
  const head = view.head(style, printed !== undefined) + first
  const notes = `${notesText(json.notes)}\n`
  if (!pending) return cutShort ? `${head}${notes}Add --apply.\n` : view.nothing(head + notes)
  const [change, ...more] = changes
  if (view.printsModule && change?.sign === '+' && more.length === 0)
    return `${head}\n${wholeText(change.diff ?? [])}${notes}Nothing was written. Save this, or add --output FILE --apply.\n`
  const foreseen = predictionsText(style, json.boots ?? [], view)
  const body = `${head}\n${changesText(style, changes, { durations, whole })}${notes}${foreseen === '' ? '' : `${foreseen}\n`}`
  return (
    body +
    (printed === undefined
      ? view.planned + (given.flag('choose') ? '' : `${view.notDone ?? NOT_WRITTEN}\n`)
      : view.applied(printed.length > 0 ? leftText(printed, given) : ''))
  )
}

/** Returns the text of a new file, for copying. */
function wholeText(diff: readonly string[]): string {
  return `${diff.map((line) => printable(line.slice(1))).join('\n')}\n`
}

/** Returns the call of the script for the same system. */
export function ownCall({ name }: Script, given: Arguments): string {
  const root = given.value('root')
  return `${name}${root === undefined ? '' : ` --root ${shellWord(root)}`}`
}

const NOT_WRITTEN = 'Nothing was written. Add --apply.'

/** The facts that a binding from the next boot on is shown by. */
export interface BindingFacts {
  selected: readonly PciDevice[]
  pci: PciFacts
  findings: readonly Finding[]
  /** The way to the boot menu. */
  bootMenu: string | undefined
  /** The driver that holds the devices from the boot on. */
  holder: 'vfio-pci' | 'pci-stub'
  printsModule: boolean
}

const BOOT_ESCAPE = 'in the boot menu, append vfio-pci.ids= vfio_scripts.override=off to the kernel command line'

/** Returns the texts around a binding: its devices, open findings, and how to go on, back, or boot without it. */
export function bindingView(script: Script, given: Arguments, facts: BindingFacts): ChangeView {
  const { findings } = facts
  const lacking = hasKernelProblem(findings)
  // Findings of guards that could not look, and of what the kernel lacks; a person decides whether to go on.
  const open = findings.filter((one) => one.state === 'unknown' || hasKernelProblem([one]))
  const own = ownCall(script, given)
  // Each driver has a list of its own.
  const emptied = facts.holder === 'pci-stub' ? 'vfio-pci.ids= pci-stub.ids=' : 'vfio-pci.ids='
  const boots = `If it does not boot:    ${printable((facts.bootMenu ?? BOOT_ESCAPE).replace('vfio-pci.ids=', emptied))}\n`
  return {
    head: (style, done) =>
      deviceText(style, script, facts) + (open.length === 0 || done ? '' : `\n${findingsText(style, open)}`),
    nothing: (above) =>
      `${above}${lacking ? 'Nothing to write, but the kernel lacks what is named above' : 'Nothing to do: all of this is set up'}. See ${script.name} --status.\n`,
    planned: `After the reboot:       ${own} --status\nTo take it back:        ${own} --undo --apply\n${boots}`,
    applied: (left) =>
      `${left || 'Done.\n'}Reboot, then:           ${script.name} --status\nTo take it back:        ${script.name} --undo --apply\n${boots}`,
    address: addressFormatter(facts.pci.devices, false),
    printsModule: facts.printsModule,
  }
}

/** Does the kernel lack something that no written file can replace? */
function hasKernelProblem(findings: readonly Finding[]): boolean {
  return findings.some(({ code, state }) => code === 'kernel-config' && state === 'problem')
}

function deviceText(style: TerminalStyle, script: Script, { selected, pci }: BindingFacts): string {
  const address = addressFormatter(pci.devices, false)
  const numbers = [...new Set(selected.map(({ group }) => group))]
  const place = numbers.map((number) => {
    if (number === null) return 'no IOMMU group'
    const bridges = pci.groups.find(({ id }) => id === number)?.devices.some(({ bridge }) => bridge)
    return `IOMMU group ${number} (${bridges ? 'bridges aside, ' : ''}nothing else in it)`
  })
  return `${paint(style, 'bold', script.name)}: ${functionCount(selected)}, ${place.join(', ')}\n${deviceLines(style, selected, address)}`
}

/** Returns how many functions these are, in words. */
export function functionCount({ length }: readonly PciDevice[]): string {
  return `${length} function${length === 1 ? '' : 's'}`
}

/** Returns a line for each device: its address, what it is, and who has it now. */
export function deviceLines(
  style: TerminalStyle,
  devices: readonly PciDevice[],
  address: (full: string) => string,
): string {
  return devices
    .map((device) => {
      const id = `[${device.vendor.id}:${device.device.id}]`
      return `  ${paint(style, 'bold', address(device.address))}  ${printable(`${deviceName(device)} ${id}, ${device.driver ?? 'no driver'} now`)}\n`
    })
    .join('')
}

/** Returns the texts around a tuning of the host, by features. */
export function tuningView(
  script: Script,
  given: Arguments,
  facts: { features: readonly string[]; findings: readonly Finding[]; rebootNeeded: boolean; printsModule: boolean },
): ChangeView {
  const own = ownCall(script, given)
  const look = facts.rebootNeeded ? 'After the reboot:      ' : 'To look at it:         '
  const next = `${look} ${own} --status\nTo take it back:        ${own} --undo --apply\n`
  const open = facts.findings.filter(({ state }) => state !== 'ok')
  return {
    head: (style) => `${paint(style, 'bold', script.name)}: ${facts.features.join(', ')}\n${findingsText(style, open)}`,
    nothing: (above) => `${above}Nothing to do: all of this is set up. See ${script.name} --status.\n`,
    planned: next,
    applied: (left) => `${left || 'Done.\n'}${next}`,
    printsModule: facts.printsModule,
  }
}

/** Returns the texts around an undo; `all`: the claims of every script; `waits`: it was in force in no boot. */
export function undoView(
  script: Script,
  leaving: readonly Claim[],
  functions: readonly BoundFunction[],
  all: readonly Claim[],
  rebootNeeded: boolean,
  waits: boolean,
): ChangeView {
  const title = `${script.name} --undo`
  const others = [...new Set(all.map(({ entry }) => entry.entry.script))].map(
    (name) => ` What ${name} set up goes with ${name} --undo --apply.`,
  )
  const names = functions.map(({ address, vendor, device }) => `${address} [${vendor}:${device}]`).join(', ')
  const reboot = !rebootNeeded
    ? waits
      ? 'It was not in force yet: no reboot is needed.\n'
      : ''
    : functions.length > 0
      ? 'Reboot: the devices go back to their drivers with the next boot.\n'
      : 'Reboot: it is in force until then.\n'
  return {
    head: (style) =>
      leaving.length === 0 ? `${title}:\n` : `${paint(style, 'bold', title)}: ${names || featureNames(leaving)}\n`,
    nothing: () => `${script.name}: nothing to take back.${others.join('')}\n`,
    planned: '',
    applied: (left) => `${left}Taken back. ${reboot}\n`,
  }
}

/** Returns the names of the features that are set up for no device. */
function featureNames(claims: readonly Claim[]): string {
  const names = [...new Set(claims.map(({ owner }) => owner))].filter((name) => name !== 'host')
  return names.join(', ') || 'the kernel arguments'
}

/** Returns the texts around drivers that change at once. */
export function liveView(script: Script, releasing: boolean): ChangeView {
  const name = `${script.name} --now${releasing ? ' --undo' : ''}`
  return {
    head: (style) => `${paint(style, 'bold', name)}:\n`,
    nothing: () => `${name}: nothing to do.\n`,
    planned: '',
    notDone: 'Nothing was changed. Add --apply.',
    applied: () => `Done.${releasing ? '' : ` To take it back: ${script.name} --now --undo --apply`}\n`,
  }
}

const STATE_COLORS: Record<NonNullable<BindVfio['state']>, Color> = {
  ...{ bound: 'green', 'in-force': 'green', none: 'dim' },
  ...{ 'reboot-needed': 'yellow', drifted: 'red', moved: 'red' },
}

/** Returns the state, then each point with its evidence. */
export function statusText(
  style: TerminalStyle,
  script: string,
  status: {
    state: NonNullable<BindVfio['state']>
    meaning: string
    names: readonly string[]
    findings: readonly Finding[]
  },
): string {
  const { state, meaning, findings } = status
  const names = status.names.length === 0 ? '' : ` (${status.names.join(', ')})`
  if (state === 'none') return `${script}: nothing is set up\n${findingsText(style, findings)}`
  return `${script}: ${paint(style, STATE_COLORS[state], state)}${meaning && `: ${meaning}`}${names}\n${findingsText(style, findings)}`
}
