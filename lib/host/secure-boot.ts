import type { Reader } from './reader.ts'

const FOLDER = '/sys/firmware/efi/efivars'
const VENDOR = '8be4df61-93ca-11d2-aa0d-00e098032b8c'

/**
 * Does the firmware start only what is signed? `null`: it cannot be seen. Four bytes of attributes come before a
 * variable's value. Source: UEFI specification, 3.3; Documentation/filesystems/efivarfs.rst.
 */
export function readSecureBoot(machine: Reader): boolean | null {
  if (!machine.exists('/sys/firmware/efi')) return machine.exists('/sys/firmware') ? false : null
  const [secure, setup] = ['SecureBoot', 'SetupMode'].map(
    (name) => machine.optionalBytes(`${FOLDER}/${name}-${VENDOR}`)?.[4],
  )
  if (secure === undefined) return null
  return secure === 1 && setup !== 1
}
