import type { Buffer } from 'node:buffer'
import { isResponsive, readConfig } from '../host/config-space.ts'
import { findKernelMessages, type KernelMessage, POWER_OFF } from '../host/kernel-messages.ts'
import { withMore } from '../host/later.ts'
import { cardOf, isVfio, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { findKnownQuirk, type KnownQuirk } from './reset-quirks.ts'
import {
  type DeviceOwnership,
  decideResetScope,
  findPciBridges,
  type PciBridge,
  type ResetMeans,
  type ResetScope,
  resetScopeText,
} from './reset-scope.ts'

/**
 * The verdict on a card. `ok`: every function that goes to the guest resets itself. `bus`: VFIO resets its bus, with
 * all that is below that bridge, or refuses to (`staying`). `none`: it cannot be reset. `quirk`: it is known not to
 * come back. `failed`: it does not answer, or did not come back by the kernel log. `unknown`: the tree does not say.
 */
export type ResetVerdict = 'ok' | 'bus' | 'none' | 'quirk' | 'failed' | 'unknown'

export interface CardReset {
  /** The slot (`0000:01:00`), or the address of a virtual function. */
  card: string
  verdict: ResetVerdict
  /** The reason for the verdict, and its meaning for a guest. */
  reason: string
  /** The address of the bridge above, where a function needs its bus to be reset. */
  bridge: string | null
  /** The other devices below that bridge, perhaps functions of this card too: they are reset along. */
  alongside: string[]
  /** Those of `alongside` that are neither the guest's nor set aside for guests: VFIO refuses the reset for them. */
  staying: string[]
  /** The lines of the kernel log on its functions, the last of each kind. */
  evidence: string[]
  /** The known quirk of the card. */
  quirk: CardQuirk | null
  /** All functions of the card; `left` is `null` for those that stay with the host. */
  functions: (PciDevice & { left: ResetMeans | null })[]
}

export interface CardQuirk extends Omit<KnownQuirk, 'what' | 'way' | 'vendor'> {
  /** Is the vendor-reset module loaded? */
  vendorReset: boolean
  /** Does `reset_method` start with device_specific? */
  deviceSpecificFirst: boolean | null
}

/** The facts that resets are judged on, besides the devices. */
export interface ResetFacts {
  /** Is the vendor-reset module loaded? */
  vendorReset: boolean
  /** The messages of this boot's kernel log on devices; none when it was not read. */
  kernelMessages: readonly KernelMessage[]
  /** The configuration space of each function of the requested cards, by address, as `readConfig` gives it. */
  configs: ReadonlyMap<string, Buffer | undefined>
}

/** Reads the facts for the cards of the requested devices. `log`: the kernel log; `null` when it was not read. */
export function readResetFacts(
  reader: Reader,
  all: readonly PciDevice[],
  requested: readonly PciDevice[],
  log: string | null,
): ResetFacts {
  const cards = new Set(requested.map(cardOf))
  const functions = all.filter((device) => !device.bridge && cards.has(cardOf(device)))
  return {
    vendorReset: reader.exists('/sys/module/vendor_reset'),
    kernelMessages: log === null ? [] : findKernelMessages(log),
    configs: new Map(functions.map((device) => [device.address, readConfig(reader, device)])),
  }
}

/** Is there a reason not to give the card to a guest: VFIO refuses its reset, one failed, or any would lose it? */
export function hasResetProblem({ verdict, staying, quirk }: CardReset): boolean {
  return verdict === 'failed' || staying.length > 0 || quirk?.harmful === true
}

/** Is there no way to reset the card when its guest stops, or a problem by `hasResetProblem`? */
export function isBadReset(card: CardReset): boolean {
  return card.verdict === 'none' || hasResetProblem(card)
}

/**
 * Returns a verdict for each card of the requested devices; bridges are no cards. With `together`, one guest gets only
 * the requested devices (a person named them); otherwise each card is judged alone, as if all of it went. Members of
 * the same IOMMU group always go along.
 */
export function judgeResets(
  all: readonly PciDevice[],
  requested: readonly PciDevice[],
  facts: ResetFacts,
  together: boolean,
): CardReset[] {
  const cards = new Map<string, PciDevice[]>()
  const endpoints = all.filter((device) => !device.bridge)
  const asked = requested.filter((device) => !device.bridge)
  const required = new Set(asked.map(cardOf))
  for (const device of endpoints) {
    const card = cardOf(device)
    if (required.has(card)) cards.set(card, [...(cards.get(card) ?? []), device])
  }
  const onVfio = new Set(endpoints.filter((device) => isVfio(device.driver)))
  const tree = findPciBridges(all)
  const withMates = groupMatesIn(endpoints)
  const guest = together ? withMates(asked) : undefined
  return [...cards].map(([card, functions]) => {
    const share = { guest: guest ?? withMates(functions), onVfio, requested: together }
    return judgeCard(card, functions, share, tree, facts)
  })
}

/** Returns a function that adds group mates. It indexes the groups once: a machine may have thousands of cards. */
function groupMatesIn(endpoints: readonly PciDevice[]): (leaving: readonly PciDevice[]) => Set<PciDevice> {
  const groups = new Map<number, PciDevice[]>()
  for (const device of endpoints) {
    if (device.group === null) continue
    const known = groups.get(device.group)
    if (known === undefined) groups.set(device.group, [device])
    else known.push(device)
  }
  return (going) => new Set(going.flatMap((device) => [device, ...(groups.get(device.group ?? -1) ?? [])]))
}

function judgeCard(
  card: string,
  functions: readonly PciDevice[],
  ownership: DeviceOwnership,
  tree: ReadonlyMap<string, PciBridge>,
  { vendorReset, kernelMessages, configs }: ResetFacts,
): CardReset {
  const { text, ...fates } = decideByBus(functions, ownership, tree)
  const leaving = [...fates.means.keys()]
  const addresses = new Set(leaving.map(({ address }) => address))
  const said = kernelMessages.filter(({ address }) => addresses.has(address))
  const quirk = quirkOf(leaving, vendorReset)
  const base = {
    card,
    bridge: fates.bridge?.address ?? null,
    alongside: fates.alongside.map(({ address }) => address),
    staying: fates.staying.map(({ address }) => address),
    evidence: said.map(({ line }) => line),
    quirk: quirk?.quirk ?? null,
    functions: functions.map((device) => withMore(device, { left: fates.means.get(device) ?? null })),
  }
  const failure = failureOf(leaving, said, configs)
  if (failure !== undefined) return { ...base, verdict: 'failed', reason: failure }
  if (quirk === undefined) return { ...base, verdict: verdictOf(fates), reason: text }
  // A card that no reset brings back needs no advice on how to reset it.
  const more = base.staying.length > 0 && !quirk.quirk.harmful ? `; ${text}` : ''
  return { ...base, verdict: 'quirk', reason: quirk.reason + more }
}

/** Decides the resets of a card whose functions may be on several buses: what resets one bus leaves the others. */
function decideByBus(
  functions: readonly PciDevice[],
  ownership: DeviceOwnership,
  tree: ReadonlyMap<string, PciBridge>,
): ResetScope & { text: string } {
  const scopes = [...new Set(functions.map(({ parent }) => parent))]
    .map((bus) => functions.filter(({ parent }) => parent === bus))
    .map((share) => decideResetScope(share, ownership, tree))
    .filter(({ means }) => means.size > 0)
  const texts = scopes.map((scope) => resetScopeText(scope, ownership))
  return {
    means: new Map(scopes.flatMap(({ means }) => [...means])),
    bridge: scopes.find(({ bridge }) => bridge !== null)?.bridge ?? null,
    alongside: scopes.flatMap(({ alongside }) => alongside),
    staying: scopes.flatMap(({ staying }) => staying),
    text:
      scopes.length < 2
        ? (texts[0] ?? '')
        : scopes.map(({ means }, index) => `${[...means.keys()][0]?.address}: ${texts[index]}`).join('; '),
  }
}

function verdictOf({ means, bridge }: ResetScope): ResetVerdict {
  const fates = [...means.values()]
  if (fates.every((each) => each === 'alone')) return 'ok'
  if (bridge !== null) return 'bus'
  return fates.includes('unknown') ? 'unknown' : 'none'
}

function failureOf(
  guestFunctions: readonly PciDevice[],
  messages: readonly KernelMessage[],
  configs: ResetFacts['configs'],
): string | undefined {
  const dead = guestFunctions.flatMap(({ address }) => (isResponsive(configs.get(address)) === false ? [address] : []))
  if (dead.length > 0) return `${dead.join(', ')}: no answer, its configuration space reads ff: ${POWER_OFF}`
  const lost = messages.filter((each) => each.lost).at(-1)
  return lost && `it did not come back, says the kernel (${lost.line}): ${POWER_OFF}`
}

function quirkOf(
  guestFunctions: readonly PciDevice[],
  vendorReset: boolean,
): { quirk: CardQuirk; reason: string } | undefined {
  const device = guestFunctions.find((each) => findKnownQuirk(each) !== undefined)
  const trouble = device && findKnownQuirk(device)
  if (trouble === undefined) return undefined
  const { vendor, what, way, ...known } = trouble
  const methods = device?.reset.methods ?? null
  const deviceSpecificFirst = methods === null ? null : methods[0] === 'device_specific'
  const bug = `${vendor} ${known.family}: ${what}`
  const help = way ?? vendorResetAdvice(vendorReset, deviceSpecificFirst)
  return { quirk: { ...known, vendorReset, deviceSpecificFirst }, reason: `${bug}; ${help}` }
}

function vendorResetAdvice(vendorReset: boolean, deviceSpecificFirst: boolean | null): string {
  if (!vendorReset) return 'load the vendor-reset module, and put device_specific first in reset_method'
  if (deviceSpecificFirst === null) return 'vendor-reset is loaded and takes over on this kernel'
  if (deviceSpecificFirst) return 'vendor-reset is loaded and device_specific comes first, as it must'
  return 'vendor-reset is loaded, but device_specific is not first: echo device_specific > reset_method of the function'
}
