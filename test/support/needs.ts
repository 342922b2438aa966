import { describe, it } from 'vitest'
import { has } from './run.ts'

declare module 'vitest' {
  interface TaskMeta {
    /** Of a skipped test: what this machine lacks. */
    lacks?: string
    /** Of a skipped test: how many more there are that another run tries. */
    left?: number
  }
}

/**
 * `it` and `describe` for what needs something of this machine that others lack: `what`, a program's name unless `here`
 * tells whether it is there. Without it one skipped test says so, and what would be in it is not looked at.
 */
export function needs(what: string, here = has(what)): { it: typeof it; describe: typeof describe } {
  if (here) return { it, describe }
  const skip = (name: string): void => it(`${name} (without ${what})`, { skip: true, meta: { lacks: what } }, () => {})
  const skipped = Object.assign(skip, { each: () => skip })
  return { it: skipped as unknown as typeof it, describe: skipped as unknown as typeof describe }
}

/** Real machines' files, kept beside the checkout where there are any; they are nobody's to redistribute here. */
export const REAL_FILES = '../shared'

/** Whole, or samples of what is exhaustive? */
export const WHOLE = process.env.VFIO_TEST_ALL === '1'

/**
 * All with VFIO_TEST_ALL=1, else so many of them: others at each run, the same with the same VFIO_TEST_SEED. How many
 * were left is a skipped test beside them.
 */
export function sampleOf<T>(all: readonly T[], count: number): readonly T[] {
  if (WHOLE || all.length <= count) return all
  const left = all.length - count
  it(`${left} more: npm run test:all`, { skip: true, meta: { left } }, () => {})
  const keyed = all.map((one, index) => ({ one, index, key: scatter(Number(process.env.VFIO_TEST_SEED) + index) }))
  const chosen = keyed.sort((one, other) => one.key - other.key).slice(0, count)
  return chosen.sort((one, other) => one.index - other.index).map(({ one }) => one)
}

/** A number from which its neighbours' cannot be told: the last step of MurmurHash3. */
export function scatter(number: number): number {
  let hash = Math.imul(number ^ (number >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
