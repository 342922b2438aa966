import type { Finding } from '../core/finding.ts'
import type { Holder } from '../hand-over/holders.ts'
import type { HandOver } from '../hand-over/plan-hand-over.ts'
import type { LoggedStep } from '../hand-over/read-hand-over.ts'
import type { PciFacts } from '../host/machine.ts'
import type { Arguments, Script } from '../terminal/options.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { type ChangeView, deviceLines, functionCount, ownCall } from './answers.ts'
import { findingsText } from './changes.ts'
import { addressFormatter } from './devices.ts'

/** The facts that a hand-over is shown by. */
export interface HandOverFactsShown {
  decided: HandOver
  holders: readonly Holder[]
  findings: readonly Finding[]
  pci: PciFacts
}

/** Returns the texts around a hand-over: its devices, who has them now, and what happens in which order. */
export function handOverView(script: Script, given: Arguments, facts: HandOverFactsShown): ChangeView {
  const { guest } = facts.decided
  const own = ownCall(script, given)
  const open = facts.findings.filter(({ state }) => state === 'unknown')
  const next = `To try it:              ${own} ${guest} --rehearse --apply\nTo look at it:          ${own} --status\nTo take it back:        ${own} --undo --apply\n`
  return {
    head: (style, done) =>
      handOverHead(style, script.name, facts) + (open.length === 0 || done ? '' : `\n${findingsText(style, open)}`),
    nothing: (above) => `${above}Nothing to do: all of this is set up. See ${script.name} --status.\n`,
    planned: next,
    applied: (left) =>
      `${left || 'Done. '}It happens at each start and stop of ${guest} from now on.\n${next}If the screen stays dark: ${script.name} ${guest} --return --apply, over SSH or from a text console\n`,
    address: addressFormatter(facts.pci.devices, false),
  }
}

function handOverHead(style: TerminalStyle, name: string, { decided, holders, pci }: HandOverFactsShown): string {
  const { guest, functions } = decided
  const address = addressFormatter(pci.devices, false)
  const steps = startSteps(decided, address).map((text, index) => `  ${index + 1}. ${printable(text)}\n`)
  return (
    `${paint(style, 'bold', name)}: ${printable(guest)} gets ${functionCount(functions)} when it starts, the host has them back when it stops\n${deviceLines(style, functions, address)}` +
    `\nOpen now:\n${holderLines(holders)}\nWhen ${printable(guest)} starts, in this order (when it stops, in the reverse one):\n${steps.join('')}`
  )
}

/** Returns who has what open, a line a process. */
function holderLines(holders: readonly Holder[]): string {
  if (holders.length === 0) return '  by nobody\n'
  const lines = new Map<string, { nodes: string[]; text: string }>()
  for (const { pid, process, node, unit } of holders) {
    const one = lines.get(`${pid}`) ?? { nodes: [], text: `${process}[${pid}]${unit === '' ? '' : ` of ${unit}`}` }
    one.nodes.push(node)
    lines.set(`${pid}`, one)
  }
  return [...lines.values()]
    .map(({ nodes, text }) => `  ${printable(`${text}: ${[...new Set(nodes)].join(', ')}`)}\n`)
    .join('')
}

function startSteps(
  { stop, start, userServices, endsSessions, console, functions }: HandOver,
  address: (full: string) => string,
): string[] {
  return [
    'it is refused, before anything is stopped, where these are not the same devices or somebody else needs them',
    ...stop.map((unit) => `stop ${unit}`),
    ...(endsSessions ? ['end the sessions that have it open'] : []),
    ...userServices.map((unit) => `stop ${unit} of the users that have it open`),
    ...(functions.length === 0 ? [] : ['wait until nobody has it open, for 40 seconds at most']),
    ...(console ? ['take the text console off it'] : []),
    ...functions.map((one) => `${address(one.address)}: ${one.driver ?? 'no driver'} → vfio-pci`),
    ...start.map((unit) => `start ${unit}`),
  ]
}

/** Returns the texts around what is done at once; `planned`: the view of the hand-over that is rehearsed. */
export function nowView(planned: ChangeView | undefined, verb: 'rehearse' | 'return', guest: string): ChangeView {
  const name = `hand-over ${guest} --${verb}`
  return {
    head: (style, done) =>
      `${paint(style, 'bold', name)}:\n${done || planned === undefined ? '' : planned.head(style, done)}`,
    nothing: () => `${name}: nothing to do.\n`,
    planned: '',
    notDone: 'Nothing was changed. Add --apply.',
    applied: () =>
      verb === 'rehearse' ? 'Away and back: all is as before. Nothing is set up.\n' : 'The host has everything back.\n',
  }
}

/** Returns the steps that were done, each with its second from the first one. */
export function stepsText(steps: readonly LoggedStep[]): string {
  const [first] = steps
  return steps
    .map(({ seconds, text }) => `  ${(seconds - (first?.seconds ?? 0)).toFixed(1).padStart(6)} s  ${printable(text)}\n`)
    .join('')
}
