import { addArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'

// What is not written here: the steps are for the person.

/** An adapter that writes nothing. */
export const BY_HAND = { isManual: () => true, settings: () => [], commands: () => [] }

/**
 * The steps for lists such as `vfio-pci.ids=` that are set already: of two the kernel takes the last, so they have to be
 * completed. `rest`: the arguments that are to be added.
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

/** The step where an image may hold drivers; `where`: what brings them into it. */
export function keepOutStep(drivers: readonly string[], where: string): string {
  const names = drivers.length > 0 ? drivers.join(', ') : 'the drivers of these devices'
  return `Leave ${names} out of the image (${where}): what is loaded there comes before the script.`
}
