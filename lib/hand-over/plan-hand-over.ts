import { headComment, type SettingOf } from '../change/settings.ts'
import { isDisplay, isVfio, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { HAND_OVER_GUESTS } from './hand-over-paths.ts'
import type { Holder } from './holders.ts'

/** What is done when a guest starts and stops: the content of its file in hand-over.d. */
export interface HandOver {
  /** The name of the guest. */
  guest: string
  /** The UUID by which libvirt's hook knows it; `null`: libvirt has nothing to do with it. */
  uuid: string | null
  functions: readonly PciDevice[]
  /** The folder of each function in /sys, which names every port above it. */
  places: readonly string[]
  /** The name of the mainboard; `null`: the firmware gives none. */
  board: string | null
  /** The units that are stopped before, in this order, and started again after, in the reverse one. */
  stop: readonly string[]
  /** The units that are started for the guest, and stopped after. */
  start: readonly string[]
  /** The services of users' own service managers that are stopped, and started again. */
  userServices: readonly string[]
  /** Do the sessions that have the card open end? */
  endsSessions: boolean
  /** Is the text console taken off the card? */
  console: boolean
}

/** The facts that a hand-over is decided on. */
export interface HandOverFacts {
  guest: string
  uuid: string | null
  functions: readonly PciDevice[]
  places: readonly string[]
  board: string | null
  /** Every function of the machine. */
  devices: readonly PciDevice[]
  holders: readonly Holder[]
  /** The unit that `display-manager.service` is, if there is one. */
  displayManager: string | null
  /** Is the text console on the card? */
  console: boolean
  /** The units that the person named. */
  stop: readonly string[]
  start: readonly string[]
}

/** Has the host another display with a driver that shows pictures? */
export function hasOtherDisplay({ functions, devices }: Pick<HandOverFacts, 'functions' | 'devices'>): boolean {
  return devices.some((one) => isDisplay(one) && !functions.includes(one) && one.driver !== null && !isVfio(one.driver))
}

/** Does the host lose its only picture? */
export function takesOnlyDisplay(facts: Pick<HandOverFacts, 'functions' | 'devices'>): boolean {
  return facts.functions.some(isDisplay) && !hasOtherDisplay(facts)
}

/** Decides what a guest's start stops, and its end starts again: by who has the card open, never by names. */
export function decideHandOver(facts: HandOverFacts): HandOver {
  const { holders, displayManager } = facts
  const alone = takesOnlyDisplay(facts)
  const endsSessions = alone || holders.some(({ kind }) => kind === 'session')
  const services = holders.flatMap(({ kind, unit }) => (kind === 'service' ? [unit] : []))
  // It comes first, so that it is the last that comes back: when all of the card is there again.
  const manager = displayManager !== null && (endsSessions || services.includes(displayManager)) ? [displayManager] : []
  const users = holders.flatMap(({ kind, unit }) => (kind === 'user-service' ? [unit] : []))
  return {
    ...{ guest: facts.guest, uuid: facts.uuid, functions: facts.functions, places: facts.places, board: facts.board },
    ...{ endsSessions, start: facts.start },
    stop: [...new Set([...manager, ...services, ...facts.stop])],
    userServices: endsSessions ? [] : [...new Set(users)].sort(),
    console: facts.console,
  }
}

/** Returns the text of a guest's file, as the program reads it: a word for what the rest of the line is. */
export function handOverText(one: HandOver): string {
  const { uuid, functions, places, board, stop, start, userServices, endsSessions, console } = one
  const lines = [
    ...(uuid === null ? [] : [`uuid ${uuid}`]),
    ...(board === null || functions.length === 0 ? [] : [`board ${board}`]),
    ...functions.map(({ address, vendor, device, subsystem }, index) => {
      const card = subsystem === null ? '-' : `${subsystem.vendor}:${subsystem.device}`
      return `function ${address} ${vendor.id} ${device.id} ${card} ${places[index]}`
    }),
    ...stop.map((unit) => `stop ${unit}`),
    ...(endsSessions ? ['sessions end'] : []),
    ...userServices.map((unit) => `user-unit ${unit}`),
    ...(console ? ['consoles unbind'] : []),
    ...start.map((unit) => `start ${unit}`),
  ]
  return `${headComment('hand-over')}${lines.join('\n')}\n`
}

/** Returns the setting that is a guest's own. */
export function guestFile(one: HandOver): SettingOf<'file'> {
  const reason = `what ${one.guest} takes when it starts`
  return { kind: 'file', path: `${HAND_OVER_GUESTS}/${one.guest}`, content: handOverText(one), reason }
}

/** Has this guest a hand-over? */
export function hasHandOver(files: Reader, guest: string): boolean {
  return files.exists(`${HAND_OVER_GUESTS}/${guest}`)
}

/** Returns what stands behind a word in the lines that start with it. */
export function linesOf(text: string, word: string): string[] {
  return [...text.matchAll(new RegExp(`^${word} (.+)$`, 'gm'))].map(([, rest = '']) => rest)
}

/** A guest's file as it is on the disk. */
export interface KnownHandOver {
  guest: string
  uuid: string | null
  /** The addresses of its functions. */
  functions: string[]
}

/** Reads the guests that have a hand-over. */
export function readHandOvers(files: Reader): KnownHandOver[] {
  return (files.list(HAND_OVER_GUESTS) ?? []).flatMap((guest) => {
    const text = files.text(`${HAND_OVER_GUESTS}/${guest}`)
    if (text === undefined) return []
    const [uuid = null] = linesOf(text, 'uuid')
    return [{ guest, uuid, functions: linesOf(text, 'function').map((line) => line.replace(/ .*/, '')) }]
  })
}
