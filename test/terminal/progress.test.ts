import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { runCommand } from '../../lib/change/run.ts'
import { clearProgress, showProgressOn, withProgress } from '../../lib/terminal/progress.ts'

const written: string[] = []
const CLEAR = '\r\u001b[K'

const terminal = (columns: number | undefined): void =>
  showProgressOn({ columns: () => columns, write: (text) => written.push(text) })

/** Work that ends when it is told to. */
function openWork(): { work: () => Promise<number>; end: () => void } {
  let end = (): void => {}
  const work = (): Promise<number> =>
    new Promise((settle) => {
      end = () => settle(7)
    })
  return { work, end: () => end() }
}

beforeEach(() => {
  vi.useFakeTimers()
  written.length = 0
})
afterEach(() => {
  showProgressOn(undefined)
  vi.useRealTimers()
})

it('shows what takes longer than a second, with the seconds, and clears the line at its end', async () => {
  terminal(80)
  const { work, end } = openWork()
  const ran = withProgress('update-initramfs -u', work)
  vi.advanceTimersByTime(999)
  expect(written).toEqual([])
  vi.advanceTimersByTime(2001)
  expect(written).toEqual(['1', '2', '3'].map((seconds) => `${CLEAR}update-initramfs -u … ${seconds} s`))
  end()
  expect(await ran).toBe(7)
  expect(written.at(-1)).toBe(CLEAR)
  vi.advanceTimersByTime(5000)
  expect(written).toHaveLength(4)
})

it('of work inside of other work shows the innermost, and clears the line where work fails', async () => {
  terminal(80)
  const outer = openWork()
  const inner = openWork()
  const first = withProgress('reading /boot/initrd.img', outer.work)
  const second = withProgress('zstd -dc', async () => {
    await inner.work()
    throw new Error('damaged')
  })
  vi.advanceTimersByTime(1000)
  expect(written.at(-1)).toContain('zstd -dc … 1 s')
  inner.end()
  await expect(second).rejects.toThrow('damaged')
  expect(written.at(-1)).toBe(CLEAR)
  vi.advanceTimersByTime(1000)
  expect(written.at(-1)).toContain('reading /boot/initrd.img … 2 s')
  outer.end()
  await first
})

it('never wraps to the next line, and shows no control characters of its own', async () => {
  terminal(24)
  const { work, end } = openWork()
  const ran = withProgress('grub-mkconfig \u001b[2J -o /boot/grub/grub.cfg', work)
  vi.advanceTimersByTime(1000)
  const shown = written.at(-1)?.slice(CLEAR.length) ?? ''
  expect(shown).toMatch(/^grub-mkconfig .*… 1 s$/)
  expect(shown.length).toBe(23)
  expect(shown).not.toContain('\u001b')
  // What else is written starts on a line of its own.
  clearProgress()
  expect(written.at(-1)).toBe(CLEAR)
  end()
  await ran
})

it.each([
  ['without a terminal', () => terminal(undefined)],
  ['where nobody asked for it', () => showProgressOn(undefined)],
])('%s writes nothing', async (_, place) => {
  place()
  const { work, end } = openWork()
  const ran = withProgress('x', work)
  vi.advanceTimersByTime(9000)
  end()
  expect(await ran).toBe(7)
  expect(written).toEqual([])
})

it('of a program says which one runs, where its output is not shown', async () => {
  terminal(80)
  const named = runCommand(['true', 'a b'], { root: '/' })
  vi.advanceTimersByTime(1000)
  expect(written).toEqual([`${CLEAR}true a b … 1 s`])
  await named
  written.length = 0
  const shown = runCommand(['true'], { root: '/', onOutput: () => {} })
  vi.advanceTimersByTime(1000)
  await shown
  expect(written).toEqual([])
})
