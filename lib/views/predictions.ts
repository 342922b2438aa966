import { isVfio } from '../host/pci.ts'
import type { Prediction } from '../predict/predict.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'

/** The way in which predictions are shown. */
interface Showing {
  /** Returns an address as it is written for people; by default the whole of it. */
  address?(full: string): string
  /** Is the device shown? The others are counted. */
  shows?: (device: Prediction) => boolean
  /** Are the lines that decide shown for each device, and not for what is undecided only? */
  causes?: boolean
}

/** Returns a boot without the devices that keep their drivers for certain, and their number; `shown` always stay. */
export function withoutUnchanged(boot: PredictedBoot, shown: readonly { address: string }[]): PredictedBoot {
  if (boot.devices === null) return boot
  const named = new Set(shown.map(({ address }) => address))
  const devices = boot.devices.filter(
    ({ address, driver, now, certainty }) => named.has(address) || driver !== now || certainty !== 'certain',
  )
  return { ...boot, devices, unchanged: boot.devices.length - devices.length }
}

/** Is there more to say of the device than that it keeps its driver? */
export function isOfInterest({ driver, now, certainty, without }: Prediction): boolean {
  return certainty !== 'certain' || driver !== now || isVfio(driver) || without.length > 0
}

/** Returns the boots as text, those with one outcome together. */
export function predictionsText(style: TerminalStyle, boots: readonly PredictedBoot[], showing: Showing = {}): string {
  const groups = new Map<string, PredictedBoot[]>()
  for (const boot of boots) {
    const outcome = boot.devices?.map(({ address, driver, certainty, or }) => [address, driver, certainty, or])
    const key = JSON.stringify([boot.reason, boot.unseen, outcome])
    groups.set(key, [...(groups.get(key) ?? []), boot])
  }
  return [...groups.values()].map((same) => outcomeText(style, same, showing)).join('')
}

function outcomeText(style: TerminalStyle, same: readonly PredictedBoot[], showing: Showing): string {
  const { address = (full: string) => full, shows = () => true, causes = false } = showing
  const [first] = same
  const head = `${paint(style, 'bold', `After the boot of ${bootNames(same)}:`)}\n`
  if (first === undefined || first.devices === null) return `${head}  not known: ${printable(first?.reason ?? '')}\n`
  const listed = first.devices.filter(shows)
  const rest = first.devices.length - listed.length + (first.unchanged ?? 0)
  const width = Math.max(0, ...listed.map((one) => driverText(one).length))
  const lines = listed.flatMap((one) => [
    `  ${address(one.address)}  ${paint(style, one.certainty === 'certain' ? 'green' : 'yellow', driverText(one).padEnd(width))}  (${nowText(one)})`,
    ...(one.darkens ? ['      the text console on this display goes dark'] : []),
    ...(causes || one.certainty === 'undecided' ? causesOf(one) : []).map((line) => `      ${printable(line)}`),
  ])
  const others = rest === 0 ? '' : `  all ${listed.length === 0 ? '' : 'other '}${rest} as now\n`
  const unseen = first.unseen === undefined ? '' : `  as far as can be seen: ${printable(first.unseen)}\n`
  return `${head}${unseen}${lines.map((line) => `${line.trimEnd()}\n`).join('')}${others}`
}

function bootNames(same: readonly PredictedBoot[]): string {
  const names = same.map((boot) => {
    const kernel = boot.kernel ?? boot.entry
    return `${kernel}${boot.default ? ' (the default entry)' : boot.recovery ? ' (for recovery)' : ''}`
  })
  const known = new Set(names)
  // The entry that is not the default one is worth no word where both boot the same.
  return printable([...known].filter((name) => !known.has(`${name} (the default entry)`)).join(', '))
}

function driverText({ driver, certainty, or }: Prediction): string {
  if (certainty === 'undecided') return `undecided: ${or.join(' or ')}`
  const more =
    certainty === 'may-decline' ? ` tries; may decline${or.length > 0 ? ` (then ${or.join(', ')})` : ''}` : ''
  return `${driver ?? 'no driver'}${more}`
}

function nowText({ now, driver, certainty }: Prediction): string {
  return now === driver && certainty === 'certain' ? 'as now' : `${now ?? 'no driver'} now`
}

function causesOf({ because, without }: Prediction): string[] {
  return [...new Set([...(because === null ? [] : [because]), ...without])]
}
