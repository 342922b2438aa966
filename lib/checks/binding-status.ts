import { boundFunctions, claimedArguments, claimedRequirements, missingInImage } from '../bind/claimed-requirements.ts'
import { type Claim, claimsOf, type JournalRecord } from '../change/journal.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import { cutShortRuns } from '../change/undo.ts'
import type { Finding } from '../core/finding.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import type { Bootloader, Host, Initramfs, InitramfsRequirements } from '../system/system.ts'
import { runCheck, runCheckAsync } from './judged.ts'
import { confirmFindings, loaderFindings, settingFindings, statusFinding } from './requirement-findings.ts'

/** `drifted`: set up, booted, and yet not as promised; `moved`: a device has another address now. */
export type BindState = 'none' | 'reboot-needed' | 'bound' | 'drifted' | 'moved'

export interface StatusFacts {
  host: Host
  devices: readonly PciDevice[]
  journal: readonly JournalRecord[]
  /** This boot; `null` when another root is looked at. */
  boot: string | null
  bootloader: Bootloader | undefined
  initramfs: Initramfs | undefined
  /** The files in an image; `null` when it could not be listed. */
  imageFiles: (argv: readonly string[]) => Promise<string | null>
  /** The kernel log of this boot; `null` when it may not be read. */
  log: string | null
}

export interface BindStatus {
  state: BindState
  functions: BoundFunction[]
  findings: Finding[]
}

/** Looks at everything that a binding promised: files, boot entries, images, drivers, kernel log. */
export async function checkBindStatus(facts: StatusFacts): Promise<BindStatus> {
  const claims = claimsOf(facts.journal, 'binding')
  const functions = boundFunctions(claims)
  const short = cutShortRuns(facts.host.files, facts.journal).notes
  if (short.length > 0)
    return {
      state: 'drifted',
      functions,
      findings: short.map((one) => statusFinding('cut-short', 'problem', one, [], 'run it again')),
    }
  if (claims.length === 0) {
    const last = facts.journal.filter(({ state, entry }) => state === 'done' && entry.kind === 'binding').at(-1)
    const fresh = last?.entry.plan.rebootNeeded && last.entry.boot !== null && last.entry.boot === facts.boot
    const findings = fresh ? [statusFinding('undone', 'problem', 'taken back, and not booted since', [], 'reboot')] : []
    return { state: fresh ? 'reboot-needed' : 'none', functions, findings }
  }
  const readers = [facts.host.files, facts.host.machine]
  const promised = [
    ...confirmFindings(claims),
    ...runCheck(readers, () => settingFindings(facts.host, claims)),
    ...runCheck(readers, () => loaderFindings(facts.bootloader, claimedArguments(claims))),
    ...(await runCheckAsync(readers, () => imageFindings(facts, claimedRequirements(claims)))),
  ]
  const drivers = functions.map((one) => driverFinding(facts, one))
  const findings = [...promised, ...drivers.map(({ finding }) => finding), ...logFindings(facts, functions)]
  return { state: decideBindState(facts, claims, promised, drivers), functions, findings }
}

interface DriverFinding {
  finding: Finding
  moved: boolean
}

function decideBindState(
  facts: StatusFacts,
  claims: readonly Claim[],
  findings: readonly Finding[],
  drivers: readonly DriverFinding[],
): BindState {
  if (drivers.some(({ moved }) => moved)) return 'moved'
  if (findings.some(({ state }) => state === 'problem')) return 'drifted'
  const waiting = claims.some(({ entry }) => entry.entry.boot === facts.boot)
  if (drivers.length === 0) return waiting || !facts.host.running ? 'reboot-needed' : 'bound'
  if (drivers.every(({ finding }) => finding.state === 'ok')) return 'bound'
  return waiting || !facts.host.running ? 'reboot-needed' : 'drifted'
}

async function imageFindings(
  { host, initramfs, imageFiles }: StatusFacts,
  requirements: InitramfsRequirements | null,
): Promise<Finding[]> {
  if (requirements === null) return []
  if (initramfs === undefined)
    return [statusFinding('images', 'unknown', 'which program makes the initramfs is not known', [], null)]
  const findings: Finding[] = []
  for (const { release, path } of initramfs.images()) {
    const listing = await imageFiles(initramfs.listCommand(path))
    const kernel = host.kernels.find((one) => one.release === release)
    const lost =
      listing === null
        ? []
        : missingInImage(listing, requirements, kernel?.provides(requirements.module) === 'builtin', initramfs)
    if (listing === null)
      findings.push(statusFinding('images', 'unknown', `${path} could not be looked into`, [], null))
    else if (lost.length === 0)
      findings.push(statusFinding('images', 'ok', `${path} holds ${requirements.module} and its IDs`, [], null))
    else
      findings.push(
        statusFinding(
          'images',
          'problem',
          `${path} lacks ${lost.join(' and ')}`,
          [],
          initramfs
            .commands()
            .map(({ argv }) => argv.join(' '))
            .join(' && '),
        ),
      )
  }
  return findings
}

function deviceIds({ vendor, device, subsystem }: PciDevice): string {
  return [`${vendor.id}:${device.id}`, subsystem === null ? null : `${subsystem.vendor}:${subsystem.device}`].join(' ')
}

/** Who has a function now, and is it still that function? */
function driverFinding({ host, devices }: StatusFacts, one: BoundFunction): DriverFinding {
  const required = [`${one.vendor}:${one.device}`, one.subsystem].join(' ')
  const here = devices.find(({ address }) => address === one.address)
  if (!host.running)
    return {
      moved: false,
      finding: statusFinding(
        'drivers',
        'unknown',
        `${one.address}: only the running system shows its driver`,
        [],
        null,
      ),
    }
  if (here === undefined || deviceIds(here) !== required) {
    const there = devices.filter(
      (device) =>
        deviceIds(device) === required && !one.twins.includes(device.address) && device.address !== one.address,
    )
    const now = here === undefined ? 'nothing is there now' : `${here.vendor.id}:${here.device.id} is there now`
    if (there.length === 0)
      return {
        moved: false,
        finding: statusFinding(
          'drivers',
          'problem',
          `${one.address}: ${now}, and ${one.vendor}:${one.device} is nowhere`,
          [],
          'undo, if the card is gone for good',
        ),
      }
    const places = there.map(({ address, driver }) => `${address} (${driver ?? 'no driver'})`)
    return {
      moved: true,
      finding: statusFinding(
        'drivers',
        'problem',
        `${one.address} moved to ${places.join(', ')}`,
        [now],
        `bind-vfio --undo ${one.address} --apply, then bind ${there[0]?.address}`,
      ),
    }
  }
  if (here.driver !== null && isVfio(here.driver))
    return { moved: false, finding: statusFinding('drivers', 'ok', `${one.address} is on ${here.driver}`, [], null) }
  return {
    moved: false,
    finding: statusFinding(
      'drivers',
      'problem',
      `${one.address} is on ${here.driver ?? 'no driver'}, not on vfio-pci`,
      [],
      'reboot; if that was done, look at the findings above',
    ),
  }
}

/** Drivers say the address of what they take: was a host driver there first? */
function logFindings({ host, log }: StatusFacts, functions: readonly BoundFunction[]): Finding[] {
  if (!host.running) return []
  if (log === null)
    return [statusFinding('kernel-log', 'unknown', 'the kernel log may not be read: try as root', [], null)]
  const lines = log.split('\n')
  return functions.flatMap(({ address, driver }) => {
    if (driver === null || isVfio(driver)) return []
    const early = lines.filter((line) =>
      new RegExp(`\\b${driver.replace(/[-_]/g, '[-_]')} ${address.replaceAll('.', '\\.')}:`).test(line),
    )
    if (early.length === 0)
      return [statusFinding('kernel-log', 'ok', `${address}: no word of ${driver} in the kernel log`, [], null)]
    return [
      statusFinding(
        'kernel-log',
        'problem',
        `${address}: ${driver} had it in this boot`,
        early.slice(0, 2),
        'see whether the image of this kernel holds the settings',
      ),
    ]
  })
}
