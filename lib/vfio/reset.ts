import { cardOf, isDisplay, isPciBridge, isVfio, onRootBus, type PciDevice } from '../host/pci.ts'

/**
 * `ok`: every function resets itself. `bus`: VFIO resets the bus that the card is on, with all that is below that
 * bridge. `none`: no way to reset it. `quirk`: a card with a known reset bug. `unknown`: the tree does not say.
 */
export type ResetVerdict = 'ok' | 'bus' | 'none' | 'quirk' | 'unknown'

export interface CardReset {
  /** The slot (`0000:01:00`), or the address of a virtual function. */
  card: string
  verdict: ResetVerdict
  /** Why, and what it means for a guest. */
  reason: string
  /** With verdict `bus`: the bridge whose bus is reset. */
  bridge: string | null
  /** With verdict `bus`: other devices below that bridge, which are reset along. */
  alongside: string[]
  /** Those of `alongside` that stay with the host: neither chosen, nor in the card's group, nor on a vfio driver. */
  staying: string[]
  /** With verdict `quirk`. */
  quirk: { family: string; vendorReset: boolean; deviceSpecificFirst: boolean | null } | null
  functions: PciDevice[]
}

// AMD GPUs that do not come back from a bus reset; the IDs that the vendor-reset module (gnif/vendor-reset) handles,
// and Vega 12, as ranges: the families own them whole in pci.ids.
const RESET_BUG: readonly [first: number, last: number, family: string][] = [
  [0x67c0, 0x67df, 'Polaris 10'],
  [0x6fdf, 0x6fdf, 'Polaris 10'],
  [0x67e0, 0x67ff, 'Polaris 11'],
  [0x6980, 0x699f, 'Polaris 12'],
  [0x6860, 0x687f, 'Vega 10'],
  [0x69a0, 0x69af, 'Vega 12'],
  [0x66a0, 0x66af, 'Vega 20'],
  [0x7310, 0x731f, 'Navi 10'],
  [0x7360, 0x7362, 'Navi 12'],
  [0x7340, 0x734f, 'Navi 14'],
]

/** The GPU family with a known reset bug that a function belongs to. */
function resetBugFamily(device: PciDevice): string | undefined {
  if (device.vendor.id !== '1002' || !isDisplay(device)) return undefined
  const id = Number.parseInt(device.device.id, 16)
  return RESET_BUG.find(([first, last]) => id >= first && id <= last)?.[2]
}

/** Methods that reset one function and nothing else; `bus` and `cxl_bus` reset the bus. */
const OWN_METHODS = new Set(['device_specific', 'acpi', 'flr', 'af_flr', 'pm'])

function resetsItself(device: PciDevice): boolean | null {
  const { supported, methods } = device.reset
  if (supported !== true) return supported
  // Before Linux 5.15 a reset that exists may be the bus's; on a root bus or beside siblings it cannot be.
  if (methods === null) return onRootBus(device) ? true : null
  return methods.some((method) => OWN_METHODS.has(method))
}

/**
 * Verdicts for the cards of the chosen devices; bridges are no cards. With `together`, all chosen devices go to one
 * guest (somebody named them); otherwise each card is judged alone. Group mates always go along.
 * Source: vfio_pci_core.c and pci_reset_fn_methods in the kernel.
 */
export function judgeResets(
  all: readonly PciDevice[],
  chosen: readonly PciDevice[],
  options: { together: boolean; vendorReset: boolean },
): CardReset[] {
  const cards = new Map<string, PciDevice[]>()
  const endpoints = all.filter((device) => !device.bridge)
  const wanted = new Set(chosen.filter((device) => !device.bridge).map(cardOf))
  for (const device of endpoints) {
    const card = cardOf(device)
    if (wanted.has(card)) cards.set(card, [...(cards.get(card) ?? []), device])
  }
  const aside = endpoints.filter((device) => isVfio(device.driver))
  const together = options.together ? endpoints.filter((device) => wanted.has(cardOf(device))) : undefined
  const tree = bridgesOf(all)
  return [...cards].map(([card, functions]) =>
    judge(card, functions, guestDevices(endpoints, together ?? functions, aside), tree, options.vendorReset),
  )
}

/** What the guest gets: the chosen, their group mates, and what is set aside for guests already. */
function guestDevices(
  endpoints: readonly PciDevice[],
  going: readonly PciDevice[],
  aside: readonly PciDevice[],
): Set<PciDevice> {
  const groups = new Set(going.map((device) => device.group).filter((group) => group !== null))
  const mates = endpoints.filter((device) => device.group !== null && groups.has(device.group))
  return new Set([...going, ...mates, ...aside])
}

function judge(
  card: string,
  functions: PciDevice[],
  guest: ReadonlySet<PciDevice>,
  tree: ReadonlyMap<string, Bridge>,
  vendorReset: boolean,
): CardReset {
  const base = { card, functions, bridge: null, alongside: [], staying: [], quirk: null }
  const family = functions.map(resetBugFamily).find((found) => found !== undefined)
  if (family !== undefined) {
    const methods = functions.find((device) => resetBugFamily(device))?.reset.methods ?? null
    const quirk = {
      family,
      vendorReset,
      deviceSpecificFirst: methods === null ? null : methods[0] === 'device_specific',
    }
    return { ...base, verdict: 'quirk', reason: quirkReason(quirk), quirk }
  }
  const own = functions.map(resetsItself)
  if (own.every((itself) => itself === true)) {
    return {
      ...base,
      verdict: 'ok',
      reason: functions.length > 1 ? 'every function resets itself' : 'the function resets itself',
    }
  }
  const bridge = busBridge(functions, tree)
  if (bridge === undefined) {
    if (own.some((itself) => itself === null))
      return { ...base, verdict: 'unknown', reason: 'this tree does not say how it can be reset' }
    const names = functions.filter((_, index) => own[index] === false).map((device) => device.address)
    const reason = `${names.join(', ')}: no reset method, and no bridge above whose bus could be reset`
    return { ...base, verdict: 'none', reason }
  }
  const alongside = bridge.below.filter((device) => !functions.includes(device))
  const staying = alongside.filter((device) => !guest.has(device)).map((device) => device.address)
  const others = alongside.map((device) => device.address)
  const reason =
    others.length === 0
      ? `VFIO resets the whole bus below ${bridge.device.address}; nothing else is on it`
      : staying.length === 0
        ? `VFIO resets the whole bus below ${bridge.device.address}; ${others.join(', ')} go along, to the guest as well`
        : `a reset of the bus below ${bridge.device.address} would hit ${staying.join(', ')}, which stay${staying.length === 1 ? 's' : ''} with the host: give the guest all of them, or use another slot`
  return { ...base, verdict: 'bus', reason, bridge: bridge.device.address, alongside: others, staying }
}

interface Bridge {
  device: PciDevice
  /** All devices below it, at any depth, that are no bridges. */
  below: PciDevice[]
}

/** The PCI bridges by address. Built once: a machine may have thousands of cards. */
function bridgesOf(all: readonly PciDevice[]): Map<string, Bridge> {
  const bridges = new Map<string, Bridge>()
  for (const device of all) if (isPciBridge(device)) bridges.set(device.address, { device, below: [] })
  for (const device of all) {
    if (!device.bridge) for (const name of device.path.split('/')) bridges.get(name)?.below.push(device)
  }
  return bridges
}

/** The bridge above the card; a virtual function has no bus of its own to reset. */
function busBridge(functions: readonly PciDevice[], tree: ReadonlyMap<string, Bridge>): Bridge | undefined {
  const [first] = functions
  if (first === undefined || first.parent === null || first.physicalFunction !== null || onRootBus(first))
    return undefined
  return tree.get(first.parent)
}

function quirkReason(quirk: NonNullable<CardReset['quirk']>): string {
  const bug = `AMD ${quirk.family}: known not to come back from a reset`
  if (!quirk.vendorReset) return `${bug}; load the vendor-reset module, and put device_specific first in reset_method`
  if (quirk.deviceSpecificFirst === null) return `${bug}; vendor-reset is loaded and takes over on this kernel`
  if (quirk.deviceSpecificFirst) return `${bug}; vendor-reset is loaded and device_specific comes first, as it must`
  return `${bug}; vendor-reset is loaded, but device_specific is not first: echo device_specific > reset_method of the function`
}
