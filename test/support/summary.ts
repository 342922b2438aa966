// What a run of the tests says last, in three lines: what was skipped and why, what was sampled, how long it took.
import type { Reporter, TestCase, TestModule } from 'vitest/node'
import { has } from './run.ts'

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

/** The three lines. */
export function summaryOf(
  tests: readonly { skipped: boolean; lacks?: string | undefined; left?: number | undefined }[],
  seconds: number,
  longest: readonly { file: string; seconds: number }[],
): string[] {
  const skipped = tests.filter((test) => test.skipped && test.left === undefined)
  const reasons = new Map<string, number>()
  for (const { lacks = 'a reason' } of skipped) reasons.set(lacks, (reasons.get(lacks) ?? 0) + 1)
  const why = [...reasons].map(([lacks, count]) => `${count} without ${lacks}`).join(', ')
  const left = tests.reduce((sum, test) => sum + (test.left ?? 0), 0)
  const files = longest.map((one) => `${one.file} ${one.seconds.toFixed(0)} s`).join(', ')
  return [
    `Skipped: ${skipped.length === 0 ? 'nothing' : why}; the lab (real kernels in emulated machines): npm run lab${has('qemu-system-x86_64') ? '' : ' -- --install, there is no QEMU here'}`,
    `Sampled: ${left === 0 ? 'nothing' : `${counted(left, 'test')} left to npm run test:all; VFIO_TEST_SEED=${process.env.VFIO_TEST_SEED} has the same sample`}`,
    `Took: ${seconds.toFixed(0)} s, ${counted(tests.filter((test) => !test.skipped).length, 'test')}${files && `; the longest: ${files}`}`,
  ]
}

function* testsOf(modules: readonly TestModule[]): Generator<TestCase> {
  for (const module of modules) yield* module.children.allTests()
}

export class Summary implements Reporter {
  #began = Date.now()

  onInit(): void {
    this.#began = Date.now()
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    const tests = [...testsOf(modules)].map((test) => ({ skipped: test.result().state === 'skipped', ...test.meta() }))
    const longest = modules
      .map((module) => ({
        file: module.relativeModuleId.replace(/^test\//, ''),
        seconds: module.diagnostic().duration / 1000,
      }))
      .sort((one, other) => other.seconds - one.seconds)
      .slice(0, 5)
    console.log(`\n${summaryOf(tests, (Date.now() - this.#began) / 1000, longest).join('\n')}`)
  }
}
