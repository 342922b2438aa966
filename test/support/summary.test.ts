import { expect, it } from 'vitest'
import { summaryOf } from './summary.ts'

it('a run ends with what was skipped, what was sampled, and how long it took', () => {
  const tests = [
    { skipped: false },
    { skipped: true, lacks: 'jq' },
    { skipped: true, lacks: 'zsh' },
    { skipped: true, lacks: 'jq' },
    { skipped: true },
    { skipped: true, left: 12 },
  ]
  const lines = summaryOf(tests, 83.4, [{ file: 'readme.test.ts', seconds: 12.3 }])
  expect(lines).toHaveLength(3)
  expect(lines[0]).toMatch(/^Skipped: 2 without jq, 1 without zsh, 1 without a reason; the lab .*: npm run lab/)
  expect(lines[1]).toMatch(/^Sampled: 12 tests left to npm run test:all; VFIO_TEST_SEED=\d+ has the same sample$/)
  expect(lines[2]).toBe('Took: 83 s, 1 test; the longest: readme.test.ts 12 s')
})
