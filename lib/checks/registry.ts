import type { CheckName } from '../core/finding.ts'
import type { AsyncCheck, Check } from './check.ts'
import type { CheckFacts, GuardFacts } from './check-facts.ts'
import {
  deviceLogCheck,
  framebufferCheck,
  groupsCheck,
  interruptLinesCheck,
  resetCheck,
  resizableBarsCheck,
  romCheck,
  romFileCheck,
} from './device.ts'
import { functionsAtBootCheck } from './functions-at-boot.ts'
import {
  bootVgaGuard,
  bridgeGuard,
  halfGroupGuard,
  lateFunctionGuard,
  onlyGpuGuard,
  partialCardGuard,
  secureBootGuard,
  sharedIdGuard,
  virtualFunctionsGuard,
} from './guards.ts'
import { diskInUseCheck, type GuestCheckFacts, guestResetCheck, noSuchFileCheck } from './guest-checks.ts'
import {
  bootSpaceCheck,
  governorCheck,
  hugePagesCheck,
  hugePagesGivenCheck,
  libvirtCheck,
  libvirtProgramCheck,
  memlockCheck,
  ovmfCheck,
  qemuCheck,
  swtpmCheck,
  userGroupsCheck,
  virtiofsdCheck,
} from './host.ts'
import {
  consoleGuard,
  interfaceUpGuard,
  inUseGuard,
  lastKeyboardGuard,
  networkGuard,
  sshGuard,
  storageGuard,
} from './in-use.ts'
import {
  bootArgumentsCheck,
  iommuCheck,
  kernelConfigCheck,
  kvmCheck,
  modprobeIdsCheck,
  msrsCheck,
  remappingCheck,
  secureBootCheck,
  unsafeSettingsCheck,
  vfioModulesCheck,
  virtualisationCheck,
} from './kernel-checks.ts'
import { libvirtHookCheck } from './libvirt-hook.ts'
import { nextBootCheck } from './next-boot.ts'
import { noAnswerGuard, reservedRegionGuard } from './obstacles.ts'
import { tpmUnlockGuard, unlockDeviceGuard } from './unlocking.ts'

// All checks, in the order in which people read them; a new one is a line here. Each names the questions that ask it.
// The lists are split by the facts that checks need, so that a script holds none that it never asks.

/** The checks of check-host; those of the card are asked with --device. */
export const HOST_CHECKS: readonly AsyncCheck<CheckFacts>[] = [
  virtualisationCheck,
  kvmCheck,
  iommuCheck,
  remappingCheck,
  bootArgumentsCheck,
  vfioModulesCheck,
  unsafeSettingsCheck,
  modprobeIdsCheck,
  nextBootCheck,
  functionsAtBootCheck,
  msrsCheck,
  secureBootCheck,
  libvirtCheck,
  libvirtHookCheck,
  userGroupsCheck,
  memlockCheck,
  hugePagesCheck,
  hugePagesGivenCheck,
  governorCheck,
  bootSpaceCheck,
  kernelConfigCheck,
  qemuCheck,
  libvirtProgramCheck,
  ovmfCheck,
  swtpmCheck,
  virtiofsdCheck,
  groupsCheck,
  resetCheck,
  deviceLogCheck,
  framebufferCheck,
  romCheck,
  interruptLinesCheck,
  romFileCheck,
  resizableBarsCheck,
]

/** The guards against giving devices to a guest; those that nothing overrides come first. */
export const GUARDS: readonly Check<GuardFacts>[] = [
  bridgeGuard,
  halfGroupGuard,
  lateFunctionGuard,
  unlockDeviceGuard,
  tpmUnlockGuard,
  onlyGpuGuard,
  bootVgaGuard,
  consoleGuard,
  inUseGuard,
  storageGuard,
  networkGuard,
  sshGuard,
  lastKeyboardGuard,
  partialCardGuard,
  virtualFunctionsGuard,
  noAnswerGuard,
  reservedRegionGuard,
  sharedIdGuard,
  interfaceUpGuard,
]

/** The guards by which bind-vfio refuses. */
export const BINDING_GUARDS: readonly CheckName[] = [GUARDS, secureBootGuard].flat()

/** The other checks of a guest. */
export const GUEST_CHECKS: readonly Check<GuestCheckFacts>[] = [guestResetCheck, noSuchFileCheck, diskInUseCheck]
