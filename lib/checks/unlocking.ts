import { evidenceResult } from '../core/finding.ts'
import type { Unreadable } from '../host/readings.ts'
import type { DeviceUsage } from '../host/usage.ts'
import type { Guard } from './check-facts.ts'
import { consoleGuard, lastKeyboardGuard, networkGuard } from './in-use.ts'

// Guards of an encrypted root file system: the devices that unlock it, and the effect of a changed boot chain.

/**
 * Is a device needed to unlock the root file system: at the machine a keyboard and a console, over the network the card
 * that the initramfs uses? Where it can be unlocked over the network, keyboard and console are not needed.
 */
export const unlockDeviceGuard: Guard<'usage'> = {
  code: 'unlock-device',
  askedBy: ['taking', 'also-taken'],
  run({ usage }) {
    const { encrypted, remote, volumes } = usage.unlock
    const needed = remote.length > 0 ? requiredRemotely(usage) : requiredLocally(usage)
    const root =
      volumes.length > 0 ? `the root file system is in ${volumes.join(', ')}` : 'the root file system is encrypted'
    const how = remote.map((line) => `it can be unlocked over the network: ${line}`)
    return evidenceResult({
      problem: 'The encrypted root file system could not be unlocked without it',
      unknown: 'It is not known whether the encrypted root file system is unlocked by it',
      ok: encrypted === false ? 'The root file system is not encrypted' : 'What unlocks the root file system stays',
      next:
        remote.length > 0
          ? 'choose another network card'
          : 'leave the host its keyboard (a port of another controller) and its console (the primary display in the firmware setup), or set up unlocking over SSH',
      evidence: encrypted === true && needed.length > 0 ? [...needed, root, ...how] : [],
      unreadable: unreadableUnlock(usage, needed.length > 0),
    })
  },
}

function requiredLocally(usage: DeviceUsage): string[] {
  const [keyboard, console] = [lastKeyboardGuard.run({ usage }), consoleGuard.run({ usage })]
  return [
    ...(keyboard.state === 'problem' ? keyboard.evidence.map((line) => `${line} is the last keyboard`) : []),
    ...(console.state === 'problem' ? console.evidence : []),
  ]
}

/** Returns evidence for the card that the initramfs is told to use, else for the one with the default route now. */
function requiredRemotely(usage: DeviceUsage): string[] {
  const { interfaces } = usage.network
  const named = interfaces.filter(({ name }) => usage.unlock.interfaces.includes(name))
  if (named.length > 0) return named.map(({ address, name }) => `${address} → ${name} is what ip= names`)
  const network = networkGuard.run({ usage })
  return network.state === 'problem'
    ? network.evidence.filter((line) => interfaces.some(({ address }) => line.startsWith(address)))
    : []
}

function unreadableUnlock({ unlock, keyboards, screens, network }: DeviceUsage, required: boolean): Unreadable[] {
  if (unlock.encrypted === null) return required ? unlock.unseen : []
  if (!unlock.encrypted) return []
  return unlock.remote.length > 0 ? network.unseen : [...keyboards.unseen, ...screens.unseen]
}

/** Is a secret sealed to measurements that a new initramfs or command line changes? Source: systemd-cryptenroll(1). */
export const tpmUnlockGuard: Guard<'usage'> = {
  code: 'tpm-unlock',
  forceable: true,
  askedBy: ['taking'],
  run({ usage: { unlock } }) {
    return evidenceResult({
      problem: 'The TPM unlocks the root file system, and what it measures will change',
      ok: 'No TPM unlocks the root file system',
      next: 'have the passphrase or recovery key at hand for the next boot and enrol the TPM again after it; then --force tpm-unlock',
      evidence: unlock.tpm,
      unreadable: unlock.unseenTpm,
    })
  },
}
