import { describe, expect, it } from 'vitest'
import { applyPlan } from '../../lib/change/apply.ts'
import type { EntryFacts } from '../../lib/change/journal-entry.ts'
import type { FileChange } from '../../lib/change/plan.ts'
import type { ApplyTarget } from '../../lib/change/rollback.ts'
import { newFolder } from '../support/expect.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'

const JOURNAL = '/var/lib/vfio-scripts'

/** Applies a plan for two files on this root. */
function apply(root: string, changes: FileChange[]): Promise<unknown> {
  const [say, signal] = [() => {}, new AbortController().signal]
  const target: ApplyTarget = {
    root,
    journal: JOURNAL,
    commandMode: 'print',
    notify: say,
    showChanges: say,
    onStart: () => say,
    signal,
  }
  const plan = { changes, settings: [], notes: [], rebootNeeded: false }
  const lists = { functions: [], undoes: [], undone: [], emptied: [] }
  const adapters: EntryFacts['adapters'] = { bootloader: null, initramfs: null }
  return applyPlan(
    target,
    { script: 'bind-vfio', kind: 'binding', time: '', boot: null, plan, adapters, ...lists },
    async () => [],
  )
}

const change = (name: string, before: string | null, after: string): FileChange => ({
  kind: 'file',
  path: `/etc/${name}`,
  before,
  after,
  mode: 0o644,
  reason: '',
})

describe('a file that is no longer what the plan saw', () => {
  it.each([
    ['another text', 'a\n', 'b\n'],
    ['a new file', null, 'b\n'],
  ])('%s is left alone, and so are the others', async (_, planned, now) => {
    const root = newFolder()
    writeIn(root, 'etc/first', 'as it was\n')
    writeIn(root, 'etc/second', now)
    const before = snapshotOf(`${root}/etc`)
    const plan = [change('first', 'as it was\n', 'ours\n'), change('second', planned, 'ours\n')]
    writeIn(root, `${JOURNAL.slice(1)}/.keep`, '')
    await expect(apply(root, plan)).rejects.toMatchObject({
      code: 'changed',
      message: expect.stringMatching(/^\/etc\/second: changed while the plan was made; look at the new plan/),
    })
    expect(snapshotOf(`${root}/etc`)).toBe(before)
    expect(textOf(root, `${JOURNAL.slice(1)}/0001/entry.json`)).toBeNull()
  })
})
