import { boundFunctions, claimedRequirements, missingInImage } from '../bind/claimed-requirements.ts'
import type { ImageContents } from '../bind/image-contents.ts'
import { type Claim, claimsOf, type JournalRecord } from '../change/journal.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import { owingRuns } from '../change/owed.ts'
import { type CheckResult, type Finding, okResult, problemResult, toFinding, unknownResult } from '../core/finding.ts'
import type { KernelLog } from '../host/kernel-log.ts'
import { isStub, isVfio, type PciDevice } from '../host/pci.ts'
import { BOOTED } from '../predict/entry-boots.ts'
import { changesHands, type PredictedBoot, predictionLine, usualBoot } from '../predict/predicted-boot.ts'
import type { Initramfs } from '../system/system.ts'
import { type AsyncCheck, runChecksAsync } from './check.ts'
import {
  bootEntriesCheck,
  type ClaimFacts,
  cutShortFindings,
  filesCheck,
  owedCheck,
  unconfirmedCheck,
} from './claim-checks.ts'

/** The state of a binding. `drifted`: set up, booted, and yet not as promised; `moved`: a device's address changed. */
export type BindState = 'none' | 'reboot-needed' | 'bound' | 'drifted' | 'moved'

export interface StatusFacts extends ClaimFacts {
  devices: readonly PciDevice[]
  initramfs: Initramfs | undefined
  /** Looks into an image of the generator; a text says why that cannot be told. */
  lookInto: (initramfs: Initramfs, path: string) => Promise<ImageContents | string>
  /** The kernel log of this boot. */
  kernelLog: KernelLog
  /** Foresees the boots by the files as they are. */
  foreseen: () => Promise<readonly PredictedBoot[]>
}

export interface BindStatus {
  state: BindState
  functions: BoundFunction[]
  findings: Finding[]
}

/** A check of `bind-vfio --status`, and the facts that it needs. */
type BindingCheck<Needs extends keyof StatusFacts> = AsyncCheck<Pick<StatusFacts, Needs>>

/** Do the images hold the module and settings that must come before the drivers? */
const imagesCheck: BindingCheck<'host' | 'claims' | 'initramfs' | 'lookInto'> = {
  code: 'images',
  askedBy: ['binding-status'],
  async run({ host, claims, initramfs, lookInto }) {
    const requirements = claimedRequirements(claims)
    if (requirements === null) return []
    if (initramfs === undefined) return unknownResult('which program makes the initramfs is not known', [])
    const commands = initramfs.commands().map(({ argv }) => argv.join(' '))
    const results: CheckResult[] = []
    for (const { release, path } of initramfs.images()) {
      const image = await lookInto(initramfs, path)
      const builtin = host.kernels.find((one) => one.release === release)?.provides(requirements.module) === 'builtin'
      const lost = typeof image === 'string' ? [] : missingInImage(image, requirements, builtin, initramfs)
      if (typeof image === 'string') results.push(unknownResult(`${path} could not be looked into`, [image]))
      else if (lost.length === 0) results.push(okResult(`${path} holds ${requirements.module} and its IDs`))
      else results.push(problemResult(`${path} lacks ${lost.join(' and ')}`, [], commands.join(' && ')))
    }
    return results
  },
}

/** Is each function still at its address, and on vfio-pci? */
const driversCheck: BindingCheck<'host' | 'claims' | 'devices' | 'foreseen'> = {
  code: 'drivers',
  askedBy: ['binding-status'],
  async run({ host, claims, devices, foreseen }) {
    const boot = usualBoot(await foreseen())
    return boundFunctions(claims).map((one) => {
      if (!host.running) return unknownResult(`${one.address}: only the running system shows its driver`, [])
      const here = devices.find(({ address }) => address === one.address)
      if (here === undefined || deviceIds(here) !== boundIds(one)) return lostResult(one, here, devices)
      if (isHeld(claims, one, here.driver)) return okResult(`${one.address} is on ${here.driver}`)
      return problemResult(
        `${one.address} is on ${here.driver ?? 'no driver'}, not on ${usesStub(claims, one) ? 'pci-stub' : 'vfio-pci'}`,
        boot?.devices?.find(({ address }) => address === one.address)?.without ?? [],
        'reboot; if that was done, look at the findings above',
      )
    })
  },
}

/** Who has the functions after a boot by the present files, images and entries, and who has others then? */
const foreseenCheck: BindingCheck<'claims' | 'foreseen' | 'initramfs' | 'bootloader'> = {
  code: 'next-boot',
  askedBy: ['binding-status'],
  async run({ claims, foreseen, initramfs, bootloader }) {
    const boot = usualBoot(await foreseen())
    if (boot === undefined || boot.devices === null || boot.file === BOOTED) return []
    const after = `after the boot of ${boot.kernel ?? boot.entry}`
    const commands = [...(initramfs?.commands() ?? []), ...(bootloader?.commands() ?? [])].map(({ argv }) =>
      argv.join(' '),
    )
    const again = `correct the lines that are named here, if any${commands.length === 0 ? '' : `; then: ${commands.join(' && ')}`}`
    const bound = new Map(boundFunctions(claims).map((one) => [one.address, one]))
    const results = boot.devices.flatMap((one): CheckResult[] => {
      const { address, driver, certainty, because, without } = one
      const promised = bound.get(address)
      if (promised === undefined) return []
      const held = isHeld(claims, promised, driver)
      if (certainty === 'undecided' || (held && certainty === 'may-decline'))
        return [unknownResult(`${address}: not known who has it ${after}`, without)]
      if (held) return [okResult(`${address} is on ${driver} ${after}`, because === null ? [] : [because])]
      return [problemResult(`${address} is on ${driver ?? 'no driver'} ${after}`, without, again)]
    })
    const others = boot.devices.filter((one) => !bound.has(one.address) && changesHands(one))
    const also = unknownResult(
      `Other devices change hands ${after}`,
      others.map(predictionLine),
      'see whether you want it',
    )
    return others.length === 0 ? results : [...results, also]
  },
}

/** Only where it was set up to hold devices is pci-stub right: no guest gets a device from it beside vfio-pci. */
function isHeld(claims: readonly Claim[], one: BoundFunction, driver: string | null): boolean {
  return isStub(driver) ? usesStub(claims, one) : isVfio(driver)
}

function usesStub(claims: readonly Claim[], { address }: BoundFunction): boolean {
  return claims.some(({ owner, setting }) => {
    if (owner !== address) return false
    const text = setting.kind === 'modprobe-id' ? `${setting.module}.ids` : 'token' in setting ? setting.token : ''
    return /^pci[-_]stub\.ids/.test('item' in setting ? setting.item : text)
  })
}

function deviceIds({ vendor, device, subsystem }: PciDevice): string {
  return [`${vendor.id}:${device.id}`, subsystem === null ? null : `${subsystem.vendor}:${subsystem.device}`].join(' ')
}

function boundIds({ vendor, device, subsystem }: BoundFunction): string {
  return [`${vendor}:${device}`, subsystem].join(' ')
}

/** Finds the devices at other addresses that have a function's IDs now, but did not when it was bound. */
function addressesNow(one: BoundFunction, devices: readonly PciDevice[]): PciDevice[] {
  return devices.filter(
    (device) =>
      deviceIds(device) === boundIds(one) && !one.twins.includes(device.address) && device.address !== one.address,
  )
}

/** Has the function gone from its address, and does another address have its IDs now? */
function hasMoved(one: BoundFunction, devices: readonly PciDevice[]): boolean {
  const here = devices.find(({ address }) => address === one.address)
  return (here === undefined || deviceIds(here) !== boundIds(one)) && addressesNow(one, devices).length > 0
}

function lostResult(one: BoundFunction, here: PciDevice | undefined, devices: readonly PciDevice[]): CheckResult {
  const there = addressesNow(one, devices)
  const now = here === undefined ? 'nothing is there now' : `${here.vendor.id}:${here.device.id} is there now`
  if (there.length === 0)
    return problemResult(
      `${one.address}: ${now}, and ${one.vendor}:${one.device} is nowhere`,
      [],
      'undo, if the card is gone for good',
    )
  return problemResult(
    `${one.address} moved to ${there.map(({ address, driver }) => `${address} (${driver ?? 'no driver'})`).join(', ')}`,
    [now],
    `bind-vfio --undo ${one.address} --apply, then bind ${there[0]?.address}`,
  )
}

/** Did a host driver have the function first? Drivers log the address of a device that they take. */
const kernelLogCheck: BindingCheck<'host' | 'claims' | 'kernelLog'> = {
  code: 'kernel-log',
  askedBy: ['binding-status'],
  run({ host, claims, kernelLog: { log, logMissing } }) {
    if (!host.running) return []
    if (log === null) return unknownResult(logMissing, [])
    const lines = log.split('\n')
    return boundFunctions(claims).flatMap(({ address, driver }) => {
      if (driver === null || isVfio(driver)) return []
      const early = lines.filter((line) =>
        new RegExp(`\\b${driver.replace(/[-_]/g, '[-_]')} ${address.replaceAll('.', '\\.')}:`).test(line),
      )
      if (early.length === 0)
        return okResult(`${address}: the kernel log does not say that ${driver} had it in this boot`)
      return problemResult(
        `${address}: ${driver} had it in this boot`,
        early.slice(0, 2),
        'see whether the image of this kernel holds the settings',
      )
    })
  },
}

/** The checks of all that a binding promised: files, boot entries, images, drivers, kernel log. */
const BINDING_CHECKS: readonly AsyncCheck<StatusFacts>[] = [
  unconfirmedCheck,
  owedCheck,
  filesCheck,
  bootEntriesCheck,
  imagesCheck,
  foreseenCheck,
  driversCheck,
  kernelLogCheck,
]

/** Checks whether the bindings are in force. `boot` is the ID of this boot; `null` when another root is looked at. */
export async function checkBindStatus({
  journal,
  boot,
  ...rest
}: Omit<StatusFacts, 'claims' | 'owing'> & {
  journal: readonly JournalRecord[]
  boot: string | null
}): Promise<BindStatus> {
  const { host } = rest
  const claims = claimsOf(journal, 'binding')
  const functions = boundFunctions(claims)
  const short = cutShortFindings(host.files, journal)
  if (short.length > 0) return { state: 'drifted', functions, findings: short }
  if (claims.length === 0) {
    const last = journal.filter(({ state, entry }) => state === 'done' && entry.kind === 'binding').at(-1)
    const fresh = last?.entry.plan.rebootNeeded && last.entry.boot !== null && last.entry.boot === boot
    const undone = problemResult('taken back, and not booted since', [], 'reboot')
    const findings = fresh ? [toFinding({ code: 'undone' }, undone)] : []
    return { state: fresh ? 'reboot-needed' : 'none', functions, findings }
  }
  const facts = { ...rest, claims, owing: owingRuns(journal) }
  const findings = await runChecksAsync(BINDING_CHECKS, facts, [host.files, host.machine])
  return { state: decideBindState(facts, findings, boot), functions, findings }
}

function decideBindState(
  { host, claims, devices }: StatusFacts,
  findings: readonly Finding[],
  boot: string | null,
): BindState {
  const functions = boundFunctions(claims)
  const drivers = findings.filter(({ code }) => code === driversCheck.code)
  const promised = findings.filter(({ code }) => code !== driversCheck.code && code !== kernelLogCheck.code)
  if (host.running && functions.some((one) => hasMoved(one, devices))) return 'moved'
  if (promised.some(({ state }) => state === 'problem')) return 'drifted'
  const waiting = claims.some(({ entry }) => entry.entry.boot === boot)
  if (drivers.length === 0) return waiting || !host.running ? 'reboot-needed' : 'bound'
  if (drivers.every(({ state }) => state === 'ok')) return 'bound'
  return waiting || !host.running ? 'reboot-needed' : 'drifted'
}
