import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import type { CommandChange } from '../../lib/change/plan.ts'
import type { Setting } from '../../lib/change/settings.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { externalCommands } from '../../lib/system/external-tools.ts'
import type { Arguments } from '../../lib/terminal/options.ts'
import type { TuneFacts } from '../../lib/tune/feature.ts'
import { governor } from '../../lib/tune/features/governor.ts'
import { tune, write } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { runProgram } from '../support/run.ts'
import { host } from '../support/tune.ts'

// The governor at once: each policy keeps what it had before the first run, and an undo gives it back.

const CPUFREQ = 'sys/devices/system/cpu/cpufreq'

/** A running machine with a policy for each governor. */
function machineWith(...governors: string[]) {
  const dir = scratchDir('governor')
  const path = (index: number): string => join(dir, CPUFREQ, `policy${index}/scaling_governor`)
  for (const [index, name] of governors.entries()) {
    mkdirSync(dirname(path(index)), { recursive: true })
    writeFileSync(path(index), `${name}\n`)
  }
  const files = openReader(dir)
  const running = { files, machine: files, running: true, kernels: [] }
  const now = (): string[] => governors.map((_, index) => readFileSync(path(index), 'utf8').trim())
  const run = (commands: CommandChange[], how: 'argv' | 'inverse' = 'argv'): void => {
    for (const command of commands) {
      const [program = '', ...words] = command[how].map((word) => word.replace('=/sys/', `=${dir}/sys/`))
      expect(runProgram(program, words)).toMatchObject({ code: 0, stderr: '' })
    }
  }
  return { dir, running, now, run }
}

/** The settings that are kept at once for this governor, beside those of earlier runs. */
function settingsFor(running: TuneFacts['host'], name: string, earlier: readonly Setting[] = []): Setting[] {
  const entry = { script: 'tune-host', plan: { settings: earlier.map((one) => ({ ...one, owners: ['governor'] })) } }
  const journal =
    earlier.length === 0
      ? []
      : [{ state: 'done', number: 1, folder: '/x', entry: { ...entry, kind: 'tuning', undoes: [], undone: [] } }]
  const facts = { host: running, distro: { why: '' }, configured: [], journal } as unknown as TuneFacts
  const given = { value: () => name, flag: () => false, list: () => [name] } as unknown as Arguments
  return governor
    .requirements(facts, given, { governor: name })
    .required.flatMap((one) => (one.kind === 'setting' ? [one.setting] : []))
}

it('is set now, and each policy gets its own back', () => {
  const { running, now, run } = machineWith('powersave', 'schedutil', 'performance')
  const settings = settingsFor(running, 'performance')
  expect(settings.map((one) => 'token' in one && one.token)).toEqual([
    'performance:policy0=powersave,policy1=schedutil',
  ])
  const coming = externalCommands(running, undefined, settings, [])
  run(coming)
  expect(now()).toEqual(['performance', 'performance', 'performance'])
  expect(externalCommands(running, undefined, settings, [])).toEqual([])
  const leaving = externalCommands(running, undefined, [], settings)
  run(leaving)
  expect(now()).toEqual(['powersave', 'schedutil', 'performance'])
  // A later step that fails: the inverse takes it back.
  run(coming)
  run(coming, 'inverse')
  expect(now()).toEqual(['powersave', 'schedutil', 'performance'])
})

it('another value keeps what was there before the first one', () => {
  const { running, now, run } = machineWith('powersave')
  const first = settingsFor(running, 'performance')
  run(externalCommands(running, undefined, first, []))
  const again = settingsFor(running, 'performance', first)
  expect(again).toEqual(first)
  const second = settingsFor(running, 'schedutil', first)
  run(externalCommands(running, undefined, second, []))
  expect(now()).toEqual(['schedutil'])
  run(externalCommands(running, undefined, [], second))
  expect(now()).toEqual(['powersave'])
})

it('nothing is set where all have it, where another system is set up, and what somebody changed since stays', () => {
  const { running } = machineWith('performance', 'performance')
  expect(settingsFor(running, 'performance')).toEqual([])
  const other = machineWith('powersave')
  expect(settingsFor({ ...other.running, running: false }, 'performance')).toEqual([])
  const settings = settingsFor(other.running, 'performance')
  expect(externalCommands(other.running, undefined, [], settings)).toEqual([])
  const dir = host({ [`${CPUFREQ}/policy0/scaling_governor`]: 'powersave\n' })
  expect(tune(dir, '--governor', 'performance', ...write).stdout).not.toContain('scaling_governor')
})
