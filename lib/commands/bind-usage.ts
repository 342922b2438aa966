import { UserError } from '../core/error.ts'
import type { Arguments } from '../terminal/options.ts'

/** Is anything asked of devices, rather than which are alike? */
export function requestsAction(given: Arguments): boolean {
  const flags = ['status', 'undo', 'choose', 'confirm', 'now', 'apply', 'all']
  return given.operands.length > 0 || flags.some((name) => given.flag(name))
}

export function checkBindUsage(given: Arguments): void {
  const usage = (message: string): UserError => new UserError('usage', message)
  const modes = ['status', 'undo', 'choose', 'confirm', 'kernel-config'].filter((name) => given.flag(name))
  if (modes.length > 1) throw usage(`--${modes.join(' and --')}: choose one`)
  for (const name of ['status', 'kernel-config'])
    if (given.flag(name) && given.flag('apply')) throw usage(`--${name} changes nothing: leave --apply out`)
  if (given.flag('status') && given.operands.length > 0)
    throw usage('--status looks at all that is bound: leave the devices out')
  if (given.flag('now') && (given.flag('all') || modes.some((name) => name !== 'undo')))
    throw usage('--now goes with --undo and --apply only')
  if (given.flag('all') && !given.flag('undo')) throw usage('--all goes with --undo')
  if (given.flag('all') && given.operands.length > 0) throw usage('--all is everything: leave the devices out')
  if (given.flag('apply') && given.value('machine') !== undefined && given.value('root') === undefined)
    throw usage('--machine is a captured machine: --apply needs the --root that it belongs to')
  if (given.flag('now') && given.value('confirm-within') !== undefined)
    throw usage('--now ends with the next boot by itself: leave --confirm-within out')
  if (modes.length === 0 && given.operands.length === 0)
    throw usage('no device given; list-iommu shows them, --choose offers them on a terminal')
}
