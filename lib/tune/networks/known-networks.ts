import { UserError } from '../../core/error.ts'
import type { Reader } from '../../host/reader.ts'
import { ifupdown } from './ifupdown.ts'
import { netifrc } from './netifrc.ts'
import { netplan } from './netplan.ts'
import type { NetworkConfig } from './network-config.ts'
import { networkManager } from './network-manager.ts'
import { networkd } from './networkd.ts'

/** The order in which they are asked for a card: netplan writes for the others; NetworkManager has all other cards. */
const CARD_ORDER: readonly NetworkConfig[] = [netplan, ifupdown, netifrc, networkd, networkManager]
/** The order in which they are asked for a TAP device: those that leave unknown devices alone are last. */
const TAP_ORDER: readonly NetworkConfig[] = [netplan, networkd, networkManager, ifupdown, netifrc]

/** Finds the program that sets a card up, and the proof. Throws a UserError, `unknown-system`, if it is not certain. */
export function findCardConfig(
  files: Reader,
  port: string,
  mac: string | undefined,
): { config: NetworkConfig; proof: string } | undefined {
  for (const config of CARD_ORDER) {
    const proof = config.cardProof(files, port, mac)
    if (proof !== undefined) return { config, proof }
  }
  return undefined
}

/** Does one of them set up an interface of this name? An entry that may be for any card is for no bridge. */
export function isSetUp(files: Reader, name: string): boolean {
  return CARD_ORDER.some((config) => {
    try {
      return config.cardProof(files, name, undefined) !== undefined
    } catch (error) {
      if (error instanceof UserError && error.code === 'unknown-system') return false
      throw error
    }
  })
}

/** Finds the program for a TAP device: the one that makes the bridge it is a port of, or that sets up the network. */
export function findTapConfig(files: Reader, bridge: string | undefined): NetworkConfig | undefined {
  return (
    [ifupdown, netifrc].find((one) => bridge !== undefined && one.cardProof(files, bridge, undefined) !== undefined) ??
    TAP_ORDER.find((one) => one.activeProof(files) !== undefined)
  )
}
