import { addArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'

// Steps that a person takes where an adapter writes nothing.

/** An adapter that writes nothing. */
export const BY_HAND = { isManual: () => true, settings: () => [], commands: () => [] }

/**
 * Returns the steps for lists such as `vfio-pci.ids=` that are set already: the kernel takes the last of two, so the
 * list that is there must be completed. `rest`: the arguments to add.
 */
export function listSteps(
  current: readonly Pick<ConfiguredArgument, 'file' | 'line' | 'name' | 'token'>[],
  tokens: readonly string[],
): { steps: string[]; rest: string[] } {
  const nameOf = (token: string): string | undefined =>
    isListMember(token) ? parseCommandLine(token)[0]?.name : undefined
  const lists = current.filter(({ name, token }) => isListMember(token) && tokens.some((one) => nameOf(one) === name))
  const steps = lists.map(({ file, line, name, token }) => {
    const to = tokens.filter((one) => nameOf(one) === name).reduce(addArgument, token)
    return `In ${file}, line ${line}, make ${token} say ${to}`
  })
  return { steps, rest: tokens.filter((token) => !lists.some(({ name }) => nameOf(token) === name)) }
}

/** Returns the step that keeps drivers out of an image; `where` names what brings them in. */
export function keepOutStep(drivers: readonly string[], where: string): string {
  const names = drivers.length > 0 ? drivers.join(', ') : 'the drivers of these devices'
  return `Leave ${names} out of the image (${where}): what is loaded there comes before the script.`
}
