import type { CheckName } from '../core/finding.ts'

// The guards of tune-host by name: a feature of it answers its own, from what it was asked for.

export const hostMemoryGuard: CheckName = { code: 'host-memory', forceable: true }
export const noConfirmGuard: CheckName = { code: 'no-confirm', forceable: true }
export const noBridgeGuard: CheckName = { code: 'no-bridge', forceable: true }
export const bridgePortGuard: CheckName = { code: 'bridge-port' }
export const driverNeededGuard: CheckName = { code: 'driver-needed' }
export const unsafeInterruptsGuard: CheckName = { code: 'unsafe-interrupts', forceable: true }
export const acsOverrideGuard: CheckName = { code: 'acs-override', forceable: true }

/** All that tune-host refuses by. */
export const TUNING_GUARDS: readonly CheckName[] = [
  hostMemoryGuard,
  noConfirmGuard,
  noBridgeGuard,
  unsafeInterruptsGuard,
  acsOverrideGuard,
  bridgePortGuard,
  driverNeededGuard,
]
