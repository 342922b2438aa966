import { UserError } from '../cli/error.ts'
import { parseCommandLine } from '../host/kernel.ts'
import type { PciDevice } from '../host/pci.ts'
import { hasSystemd } from '../host/programs.ts'
import type { Reader } from '../host/reader.ts'
import { ownHead, type Setting } from '../plan/setting.ts'
import type { SystemFacts } from '../plan/settle.ts'
import type { Finding } from '../vfio/finding.ts'

/** What tuning is decided on. */
export interface TuneFacts extends SystemFacts {
  devices: readonly PciDevice[]
}

/** What one thing that was asked for needs of the host. */
export interface Wish {
  /** As `--undo` takes it: `hugepages`. */
  feature: string
  /** Kernel arguments, in the order in which the kernel has to see them. */
  arguments: readonly string[]
  /** Files that are effective as they stand. */
  files: readonly Setting[]
  /** Why, for the plan. */
  reason: string
  notes: readonly string[]
  /** Refusals. */
  findings: readonly Finding[]
  /** Is it in force with the next boot only? */
  rebootNeeded: boolean
}

/** A wish that says only what differs from nothing. */
export function wish(feature: string, reason: string, some: Partial<Wish>): Wish {
  const rebootNeeded = (some.arguments ?? []).length > 0
  return { feature, reason, arguments: [], files: [], notes: [], findings: [], rebootNeeded, ...some }
}

/** A line of a file of our own. */
export function ownLine(files: Reader, path: string, line: string, reason: string, section = ''): Setting {
  const folder = path.replace(/\/[^/]*$/, '')
  const place = `${files.resolve(folder) ?? folder}/${path.slice(folder.length + 1)}`
  return { kind: 'line', path: place, head: ownHead('tune-host') + section, line, reason }
}

/**
 * Throws a UserError, code `contradiction`, where the boot settings give one of the arguments another value already:
 * the kernel would take the last, or both.
 */
export function expectUnset({ configured }: TuneFacts, feature: string, tokens: readonly string[]): void {
  const wanted = tokens.flatMap((token) => parseCommandLine(token))
  for (const { name, value, token, file, line } of configured) {
    if (!wanted.some((one) => one.name === name) || wanted.some((one) => one.name === name && one.value === value))
      continue
    throw new UserError(
      'contradiction',
      `${file}:${line}: ${token} is set already; take it out first (tune-host --undo ${feature} --apply, if it is ours), nothing was written`,
    )
  }
}

/** Throws a UserError, code `unknown-system`, where systemd does not start this system. */
export function expectSystemd(files: Reader, option: string, instead: string): void {
  if (!hasSystemd(files)) throw new UserError('unknown-system', `${option} is a matter of systemd here; ${instead}`)
}
