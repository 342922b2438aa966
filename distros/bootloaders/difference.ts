import { addArgument, isListMember, removeArgument } from '../../lib/edit/kernel-arguments.ts'
import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { ExternalTokens } from '../../lib/system/system.ts'

/** What a program has to be told, so that a line becomes another. */
export interface LineDifference {
  /** Whole arguments, in order. */
  added: string[]
  removed: string[]
  /** Lists that lose or gain members: programs know whole arguments only. */
  replaced: { from: string; to: string }[]
}

/** The line with what comes, and without what goes. */
export function changedLine(line: string, { add, remove }: ExternalTokens): string {
  return add.reduce(addArgument, remove.reduce(removeArgument, line))
}

export function differenceOf(before: string, after: string): LineDifference {
  const [old, now] = [before, after].map((line) => parseCommandLine(line).map(({ token }) => token))
  const added = (now ?? []).filter((token) => !old?.includes(token))
  const removed = (old ?? []).filter((token) => !now?.includes(token))
  const nameOf = (token: string): string | undefined => parseCommandLine(token)[0]?.name
  const replaced = removed.flatMap((from) => {
    const to = isListMember(from) ? added.find((token) => nameOf(token) === nameOf(from)) : undefined
    return to === undefined ? [] : [{ from, to }]
  })
  return {
    added: added.filter((token) => !replaced.some(({ to }) => to === token)),
    removed: removed.filter((token) => !replaced.some(({ from }) => from === token)),
    replaced,
  }
}

export function isUnchanged({ added, removed, replaced }: LineDifference): boolean {
  return added.length + removed.length + replaced.length === 0
}

/**
 * For a person: a list such as `vfio-pci.ids=` that is set already has to be completed, for of two the kernel takes the
 * last. `rest`: the arguments that are to be added.
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
