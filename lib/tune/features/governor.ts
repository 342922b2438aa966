import { claimsOf } from '../../change/journal.ts'
import { type Setting, tokensKeptBy } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import type { Reader } from '../../host/reader.ts'
import { parseGovernors } from '../../system/external-tools.ts'
import {
  expectUnset,
  externalSettings,
  isDescribed,
  type TuneFacts,
  type TuneFeature,
  tuneRequirements,
} from '../feature.ts'
import { inForceFinding, requestedValues } from '../in-force.ts'

const CPUFREQ = '/sys/devices/system/cpu/cpufreq'
/** The governors of Linux, for a machine that does not say which it has. Source: drivers/cpufreq. */
const GOVERNORS = ['conservative', 'ondemand', 'performance', 'powersave', 'schedutil', 'userspace']

/** Sets the governor of all CPUs, at once and from boot on. Source: Documentation/admin-guide/pm/cpufreq.rst (since Linux 5.9). */
export const governor: TuneFeature = {
  name: 'governor',
  option: { kind: 'value', value: 'NAME', help: 'give all CPUs this governor (performance), now and at each boot' },

  requirements(facts, given) {
    const name = given.value('governor') ?? ''
    expectGovernor(facts.host.machine, name)
    const reason = `all CPUs start with the governor ${name}`
    if (isDescribed(facts))
      return tuneRequirements(reason, {
        required: [{ kind: 'governor', name }],
        rebootNeeded: true,
        replaces: () => true,
      })
    expectUnset(facts, 'governor', [`cpufreq.default_governor=${name}`])
    return tuneRequirements(reason, {
      required: [
        { kind: 'governor', name },
        ...governorsNow(facts, name).map((setting) => ({ kind: 'setting' as const, setting, reason: setting.reason })),
      ],
      rebootNeeded: true,
      replaces: () => true,
    })
  },

  inForce: ({ machine }, settings) =>
    requestedValues(settings, 'governor').map((name) => {
      const policies = (machine.list(CPUFREQ) ?? []).filter((one) => /^policy\d+$/.test(one))
      const now = policies.map((one) => machine.optionalText(`${CPUFREQ}/${one}/scaling_governor`)?.trim())
      const others = now.filter((one) => one !== name)
      if (policies.length === 0 || others.includes(undefined))
        return inForceFinding('governor', null, 'Which governor the CPUs have is not known', [`not seen: ${CPUFREQ}`])
      if (others.length === 0) return inForceFinding('governor', true, `all CPUs have the governor ${name}`)
      return inForceFinding(
        'governor',
        false,
        `${others.length} of ${now.length} CPU policies have the governor ${[...new Set(others)].join(', ')}, not ${name}`,
        [CPUFREQ],
        'reboot; if it stays so, a service sets another one: power-profiles-daemon, tuned, tlp, cpupower',
      )
    }),
}

/**
 * Returns the setting that gives the CPUs of the running machine the governor, with what they had before our first run;
 * none where they all have it, or where another system is set up.
 */
function governorsNow({ host: { machine, running }, journal }: TuneFacts, name: string): Setting[] {
  const claimed = claimsOf(journal).flatMap(({ owner, setting }) => (owner === 'governor' ? [setting] : []))
  const old = new Map(tokensKeptBy(claimed, 'governor-now').flatMap((token) => parseGovernors(token).before))
  const policies = running ? (machine.list(CPUFREQ) ?? []).filter((one) => /^policy\d+$/.test(one)) : [...old.keys()]
  const before = policies.flatMap((policy): string[] => {
    const now = machine.optionalText(`${CPUFREQ}/${policy}/scaling_governor`)?.trim()
    const was = old.get(policy) ?? (now === name ? undefined : now)
    return was === undefined || !/^\w+$/.test(was) ? [] : [`${policy}=${was}`]
  })
  const reason = `all CPUs have the governor ${name} now`
  return before.length === 0 ? [] : externalSettings('governor-now', [`${name}:${before.join(',')}`], reason)
}

/** Throws a UserError with code `usage` for a governor that this machine has not. */
export function expectGovernor(machine: Reader, name: string): void {
  const policy = (machine.list(CPUFREQ) ?? []).find((one) => /^policy\d+$/.test(one))
  const said = machine.optionalText(`${CPUFREQ}/${policy}/scaling_available_governors`)?.split(/\s+/).filter(Boolean)
  const [who, known] = said === undefined || said.length === 0 ? ['Linux', GOVERNORS] : ['this machine', said]
  if (!known.includes(name)) throw new UserError('usage', `--governor ${name}: ${who} has ${known.join(', ')}`)
}
