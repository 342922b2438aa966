import { describe, expect, it } from 'vitest'
import { card, expectRan } from './bind.ts'
import { machineDir } from './machine.ts'
import { runScript } from './run.ts'
import { systemDir } from './system.ts'

// Almost all tests call scripts in their own process: what they see is what a process would have said.

const machine = machineDir('i9-14900k-vmd')
const system = systemDir({ machine: 'i9-14900k-vmd' })
const RUNS: [script: string, ...args: string[]][] = [
  ['list-iommu', '--machine', machine, '--gpu', '--json'],
  ['check-reset', '--machine', machine, '--no-such'],
  ['check-host', '--root', system, card],
  ['bind-vfio', '--root', system, '99:00', '--json'],
  ['override-same-id-gpu', '--root', system, card, '--verbose'],
  ['tune-host', '--help', '--json'],
  ['gen-domain', '--machine', machine, '--gpu', card],
]

describe('called in this process', () => {
  it.each(RUNS)('%s says what a process says', (script, ...args) => {
    const own = runScript(script, args)
    expect(own).toEqual(runScript(script, args, { process: true }))
    expect(runScript(script, args)).toEqual(own)
  })

  it('a plan that is applied: the same lines, programs run, and the lock is given back', () => {
    const ran = [{}, { process: true } as const].map((options) => {
      const dir = systemDir({ machine: 'i9-14900k-vmd' })
      const both = [
        [card, '--apply'],
        ['--undo', '--apply'],
      ].map((args) => runScript('bind-vfio', ['--root', dir, ...args, '--no-commands'], options))
      for (const each of both) expectRan(each, 0, /./)
      return both.map(({ stdout, stderr }) => (stdout + stderr).replaceAll(dir, 'ROOT'))
    })
    expect(ran[0]).toEqual(ran[1])
  })

  it('the environment is what the test gives, of one run only', () => {
    const names = (env: NodeJS.ProcessEnv, process?: true): string[] | null =>
      runScript('check-host', ['--json'], { env, ...(process && { process }) }).stdout.match(/somebody[^"]*/g)
    const one = names({ SUDO_USER: 'somebody' })
    expect(one).toEqual(names({ SUDO_USER: 'somebody' }, true))
    expect(one).not.toBeNull()
    expect(names({})).toBeNull()
  })
})
