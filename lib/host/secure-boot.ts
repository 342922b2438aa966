import type { Reader } from './reader.ts'

const FIRMWARE = '/sys/firmware'
const VARIABLES = `${FIRMWARE}/efi/efivars`
const VENDOR = '8be4df61-93ca-11d2-aa0d-00e098032b8c'

/** The firmware that started the kernel; `null`: not to be seen. */
export function readFirmwareKind(machine: Reader): 'efi' | 'bios' | null {
  if (machine.exists(`${FIRMWARE}/efi`)) return 'efi'
  return machine.exists(FIRMWARE) ? 'bios' : null
}

/** The file that says whether Secure Boot is on. */
export const SECURE_BOOT_VARIABLE = `${VARIABLES}/SecureBoot-${VENDOR}`

/**
 * Does the firmware start only what is signed? `null`: it cannot be seen. Four bytes of attributes come before a
 * variable's value. Source: UEFI specification, 3.3; Documentation/filesystems/efivarfs.rst.
 */
export function readSecureBoot(machine: Reader): boolean | null {
  const kind = readFirmwareKind(machine)
  if (kind !== 'efi') return kind === null ? null : false
  const [secure, setup] = [SECURE_BOOT_VARIABLE, `${VARIABLES}/SetupMode-${VENDOR}`].map(
    (path) => machine.optionalBytes(path)?.[4],
  )
  if (secure === undefined) return null
  return secure === 1 && setup !== 1
}
