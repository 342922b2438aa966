import type { CheckName } from '../core/finding.ts'
import type { Option } from '../terminal/options.ts'

/** Returns the option `--force` of a script that refuses by these guards. */
export function forceOption(guards: readonly CheckName[]): Option {
  const choices = guards.flatMap(({ code, forceable }) => (forceable ? [code] : []))
  return {
    name: 'force',
    kind: 'list',
    value: 'GUARD',
    choices,
    help: 'override a guard that refused, by its name',
    refusal(name) {
      if (choices.includes(name)) return undefined
      const known = guards.some(({ code }) => code === name)
      return `${known ? 'nothing overrides this guard' : 'no such guard'}; there is ${choices.join(', ')}`
    },
  }
}
