import type { CommandChange } from '../../lib/change/plan.ts'
import { addArgument, isListMember, removeArgument } from '../../lib/edit/kernel-arguments.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { ExternalTokens } from '../../lib/system/system.ts'

/** The changes that turn one command line into another, for a program that keeps it. */
export interface LineDifference {
  from: string
  to: string
  /** The whole arguments to add, in order. */
  added: string[]
  removed: string[]
  /** The lists that lose or gain members: programs know only whole arguments. */
  replaced: { from: string; to: string }[]
}

/** Returns the command by which a tool changes the command line that it keeps, and its inverse; none if not needed. */
export function lineCommands(
  before: string,
  { add, remove }: ExternalTokens = { add: [], remove: [] },
  argvFor: (difference: LineDifference) => string[],
  { touches, reason }: Pick<CommandChange, 'touches' | 'reason'>,
): CommandChange[] {
  const after = add.reduce(addArgument, remove.reduce(removeArgument, before))
  const change = differenceOf(before, after)
  if (change.added.length + change.removed.length + change.replaced.length === 0) return []
  const inverse = argvFor(differenceOf(after, before))
  return [{ kind: 'command', argv: argvFor(change), inverse, touches, reason }]
}

function differenceOf(from: string, to: string): LineDifference {
  const [old = [], now = []] = [from, to].map((line) => parseCommandLine(line).map(({ token }) => token))
  const added = now.filter((token) => !old.includes(token))
  const removed = old.filter((token) => !now.includes(token))
  const nameOf = (token: string): string | undefined => parseCommandLine(token)[0]?.name
  const replaced = removed.flatMap((one) => {
    const other = isListMember(one) ? added.find((token) => nameOf(token) === nameOf(one)) : undefined
    return other === undefined ? [] : [{ from: one, to: other }]
  })
  return {
    from,
    to,
    added: added.filter((token) => !replaced.some((one) => one.to === token)),
    removed: removed.filter((token) => !replaced.some((one) => one.from === token)),
    replaced,
  }
}
