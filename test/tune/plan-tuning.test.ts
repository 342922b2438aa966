import { expect, it } from 'vitest'
import { expectRan, tune, write } from '../support/bind.ts'
import { loaderDir, systemdBoot } from '../support/loaders.ts'
import { textOf } from '../support/system.ts'

it('an argument of boot entries that need no command waits for the reboot too', () => {
  const dir = loaderDir(systemdBoot)
  expect(JSON.parse(tune(dir, '--threadirqs', '--json').stdout)).toMatchObject({ rebootNeeded: true })
  expectRan(tune(dir, '--governor', 'performance', ...write), 0, /After the reboot/)
  expectRan(tune(dir, '--governor', 'powersave', ...write), 0, /the new value takes the place/)
  expect(textOf(dir, 'boot/loader/entries/arch.conf')).toContain(' cpufreq.default_governor=powersave\n')
  expect(tune(dir, '--status').stdout).not.toContain('is not known')
})
