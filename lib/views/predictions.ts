import type { Prediction } from '../predict/predict.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'

/** Who has each device after a boot by one entry, as `--json` prints it. */
export interface PredictedBoot {
  /** The entry's title. */
  entry: string
  /** The release of its kernel; `null`: no kernel that has modules here. */
  kernel: string | null
  /** The file that the entry stands in. */
  file: string
  /** Is it booted when nobody chooses? `null`: that cannot be told. */
  default: boolean | null
  recovery: boolean
  /** The initramfs images of the entry, or its unified image. */
  images: string[]
  /** `null`: it is not known what the entry boots, for `reason`. */
  devices: Prediction[] | null
  reason?: string
}

/** Returns the boots as text: for each, the devices that change or that lines speak of; `shown` limits them. */
export function predictionsText(
  style: TerminalStyle,
  boots: readonly PredictedBoot[],
  address: (full: string) => string,
  shown: (device: Prediction) => boolean,
  all = false,
): string {
  const groups = new Map<string, PredictedBoot[]>()
  for (const boot of boots) {
    const key = JSON.stringify([boot.reason, boot.devices?.map(({ because: _, without: __, ...rest }) => rest)])
    groups.set(key, [...(groups.get(key) ?? []), boot])
  }
  return [...groups.values()].map((same) => groupText(style, same, address, shown, all)).join('')
}

function groupText(
  style: TerminalStyle,
  same: readonly PredictedBoot[],
  address: (full: string) => string,
  shown: (device: Prediction) => boolean,
  all: boolean,
): string {
  const [first] = same
  const head = `${paint(style, 'bold', `After the boot of ${bootNames(same)}:`)}\n`
  if (first === undefined || first.devices === null) return `${head}  not known: ${printable(first?.reason ?? '')}\n`
  const listed = first.devices.filter(shown)
  const rest = first.devices.length - listed.length
  const width = Math.max(0, ...listed.map((one) => driverText(one).length))
  const lines = listed.flatMap((one) => [
    `  ${address(one.address)}  ${paint(style, one.certainty === 'certain' ? 'green' : 'yellow', driverText(one).padEnd(width))}  (${nowText(one)})`,
    ...(one.darkens ? ['      the text console on this display goes dark'] : []),
    ...(all || one.certainty === 'undecided' ? causesOf(one) : []).map((line) => `      ${printable(line)}`),
  ])
  const others = rest === 0 ? '' : `  ${listed.length === 0 ? 'all' : 'all other'} ${rest} as now\n`
  return `${head}${lines.map((line) => `${line.trimEnd()}\n`).join('')}${others}`
}

function bootNames(same: readonly PredictedBoot[]): string {
  const names = same.map((boot) => {
    const kernel = boot.kernel ?? boot.entry
    const more = boot.default ? ' (the default entry)' : boot.recovery ? ' (for recovery)' : ''
    return kernel + more
  })
  return printable([...new Set(names)].join(', '))
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
  return [...(because === null ? [] : [because]), ...without].filter((line, index, all) => all.indexOf(line) === index)
}
