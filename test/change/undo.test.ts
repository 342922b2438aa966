import { expect, it } from 'vitest'
import { claimsOf, type JournalRecord } from '../../lib/change/journal.ts'
import { waitsForBoot } from '../../lib/change/undo.ts'

const setting = { kind: 'line', path: '/etc/modprobe.d/x.conf', line: 'options vfio-pci ids=1:2' }

/** A run of that boot, which set up or took back what these own. */
function run(number: number, boot: string | null, more: { owners?: string[]; undoes?: number[]; undone?: string[] }) {
  const { owners = [], undoes = [], undone = [] } = more
  const plan = { changes: [], settings: owners.length === 0 ? [] : [{ ...setting, owners }], rebootNeeded: true }
  return { number, state: 'done', entry: { kind: 'binding', boot, plan, undoes, undone } } as unknown as JournalRecord
}

it.each<[string, boolean, JournalRecord[], string | null]>([
  ['set up in this boot', true, [run(1, 'now', { owners: ['a'] })], 'now'],
  ['set up in an earlier boot', false, [run(1, 'then', { owners: ['a'] })], 'now'],
  ['this boot is not known', false, [run(1, 'now', { owners: ['a'] })], null],
  ['that boot is not known', false, [run(1, null, { owners: ['a'] })], 'now'],
  [
    'another device was set up in an earlier boot',
    true,
    [run(1, 'then', { owners: ['b'] }), run(2, 'now', { owners: ['a'] })],
    'now',
  ],
  [
    'taken back and set up anew in this boot: what was booted with is still in force',
    false,
    [
      run(1, 'then', { owners: ['a'] }),
      run(2, 'now', { undoes: [1], undone: ['a'] }),
      run(3, 'now', { owners: ['a'] }),
    ],
    'now',
  ],
])('an undo needs no reboot where no boot was made with it: %s', (_, waits, journal, boot) => {
  const claims = claimsOf(journal).filter(({ owner }) => owner === 'a')
  expect(claims).not.toEqual([])
  expect(waitsForBoot(journal, claims, boot)).toBe(waits)
})
