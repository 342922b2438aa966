import { UserError } from '../core/error.ts'

/** The path of the program that hands cards over, beside which are its parts and the files of the guests. */
export const HAND_OVER = '/etc/vfio-scripts/hand-over'
/** The folder of the guests' files. */
export const HAND_OVER_GUESTS = `${HAND_OVER}.d`

/** The folder of what the guests get while they run. */
export const WHILE_RUNNING = '/etc/vfio-scripts/while-running.d'

/** The folder with what each running guest was given, which ends with the boot. */
export const WHILE_RUNNING_WANTS = '/run/vfio-scripts/while-running/wants'

/** The path of libvirt's hook. Source: libvirt.org/hooks.html. */
export const HOOK = '/etc/libvirt/hooks/qemu.d/50-vfio-scripts-hand-over'

/** The name of the units, without the guest. */
export const UNIT = 'vfio-scripts-hand-over'

/** Returns the name of the unit that hands the card of a guest over. */
export function handOverUnit(guest: string): string {
  return `${UNIT}@${guest}.service`
}

/** Throws a UserError with code `usage` for a guest whose name cannot be that of a unit and of a file. */
export function expectGuestName(guest: string): void {
  if (!/^\w[\w.:-]*$/.test(guest))
    throw new UserError(
      'usage',
      `${guest}: the name of a guest has letters, digits and . _ : - only here (virsh domrename gives it another one)`,
    )
}
