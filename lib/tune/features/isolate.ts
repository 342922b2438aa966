import { parseSelector } from '../../bind/select.ts'
import { UserError } from '../../core/error.ts'
import { pinVcpus } from '../../cpu/pinning.ts'
import { cpuList, parseCpuList, readCpus } from '../../host/cpu.ts'
import { configLines, configLineText, dropInFolders, readDropIns } from '../../host/drop-ins.ts'
import {
  adoptedNote,
  expectSystemd,
  expectUnset,
  setByHand,
  type TuneFacts,
  type TuneFeature,
  tuneRequirements,
} from '../feature.ts'
import { inForceFinding, matchSettings } from '../in-force.ts'

/** The units of all that systemd starts, except guests, which are in machine.slice. Source: systemd.special(7). */
const UNITS = ['system.slice', 'user.slice', 'init.scope'] as const

const UNIT_FOLDERS = [
  '/etc/systemd/system.control',
  '/run/systemd/system.control',
  '/run/systemd/transient',
  ...dropInFolders('systemd/system'),
]

const CGROUPS = '/sys/fs/cgroup'

/**
 * Keeps the host's work off the CPUs that gen-domain pins a guest of this size to: by kernel arguments from boot on, or
 * (`--slices`) by systemd while it runs. Throws the UserErrors of `pinVcpus`, `no-device`, and `old-cgroups`.
 * Source: Documentation/admin-guide/kernel-parameters.txt (isolcpus, nohz_full, rcu_nocbs);
 * systemd.resource-control(5).
 */
export const isolate: TuneFeature = {
  name: 'isolate',
  option: {
    kind: 'value',
    value: 'N',
    optional: true,
    help: 'keep the host off the CPUs that gen-domain --vcpus N pins a guest to',
  },
  with: [
    { name: 'near', kind: 'value', value: 'DEVICE', help: 'CPUs near this device' },
    {
      name: 'prefer',
      kind: 'value',
      choices: ['cache', 'frequency'],
      help: 'where L3 clusters differ, the one with more of it',
    },
    { name: 'slices', kind: 'flag', help: 'by systemd while it runs, not by kernel arguments' },
  ],

  requirements(facts, given) {
    const { machine, kernels } = facts.host
    if (given.value('isolate') === '')
      throw new UserError(
        'usage',
        '--isolate needs a number: --isolate 8; without one it goes with --while-running GUEST',
      )
    const near = given.value('near')
    const device = near === undefined ? undefined : facts.devices.find(parseSelector(near).matches)
    if (near !== undefined && device === undefined)
      throw new UserError('no-device', `--near ${near}: no such device on this machine; list-iommu shows what there is`)
    const pinning = pinVcpus(readCpus(machine), {
      size: { vcpus: Number(given.value('isolate')) },
      prefer: given.value('prefer') as 'cache' | 'frequency' | undefined,
      node: device?.numaNode ?? undefined,
    })
    const guest = cpuList([...pinning.vcpus.map(({ cpu }) => cpu), ...pinning.idle])
    const host = cpuList(pinning.host)
    const reason = `CPUs ${guest} are for guests, ${host} for the host`
    const replaces = (): boolean => true
    if (given.flag('slices')) {
      expectSystemd(facts, '--slices', 'leave it out, for kernel arguments')
      expectCpuset(facts)
      const required = UNITS.map((unit) => ({ kind: 'unit-property' as const, unit, name: 'AllowedCPUs', value: host }))
      return tuneRequirements(reason, { replaces, required, notes: pinning.reasons })
    }
    // A kernel without the option would only log that, and go on.
    const ticks = kernels.every(({ config }) => config('CONFIG_NO_HZ_FULL') !== 'n')
    const tokens = [
      `isolcpus=managed_irq,domain,${guest}`,
      ...(ticks ? [`nohz_full=${guest}`] : []),
      `rcu_nocbs=${guest}`,
    ]
    const cpus = parseCpuList(guest) ?? []
    const adopted = tokens.flatMap((token) => {
      const name = token.slice(0, token.indexOf('='))
      const set = setByHand(facts, 'isolate', name)
      return set?.sure && isolatesAll(set.value, name === 'isolcpus', cpus) ? [{ token, set }] : []
    })
    const added = tokens.filter((one) => !adopted.some(({ token }) => token === one))
    expectUnset(facts, 'isolate', added)
    const left = ticks ? [] : ['nohz_full is left out: the kernel was built without CONFIG_NO_HZ_FULL.']
    const notes = [...pinning.reasons, ...left, ...adopted.map(({ set }) => adoptedNote(set))]
    return tuneRequirements(reason, { replaces, arguments: added, notes })
  },

  inForce({ machine }, settings) {
    const isolated = matchSettings(settings, /^(?:(isolcpus)=(?:[a-z_]+,)*|(nohz_full)=)([\d,-]+)$/).map(
      ([, byIsolcpus, , list = '']) => {
        const path = `/sys/devices/system/cpu/${byIsolcpus === undefined ? 'nohz_full' : 'isolated'}`
        const now = parseCpuList(machine.optionalText(path)?.replace('(null)', ''))
        const ok = now === undefined ? null : (parseCpuList(list) ?? []).every((cpu) => now.includes(cpu))
        const seen = now === undefined ? 'not been seen' : cpuList(now) || 'no CPU'
        return inForceFinding('isolated', ok, `${path} has ${seen}${ok ? '' : `, not ${list}`}`)
      },
    )
    const slices = settings.flatMap((setting) => {
      const unit = unitOf(setting.path)
      const list = setting.kind === 'line' ? /^AllowedCPUs=(.*)$/.exec(setting.line)?.[1] : undefined
      if (unit === undefined || list === undefined || !machine.exists(CGROUPS)) return []
      const path = `${CGROUPS}/${unit}/cpuset.cpus`
      const now = machine.optionalText(path)?.trim()
      const ok = now !== undefined && cpuList(parseCpuList(now) ?? []) === list
      const summary = `${unit} runs on CPUs ${now || '(any)'}${ok ? '' : `, not ${list}`}`
      return inForceFinding('slices', ok, summary, ok ? [] : [path])
    })
    return [...isolated, ...slices]
  },

  // CPUs of several lines are added up, and an empty value resets the list. Source: systemd.resource-control(5).
  overruled(files, { path, line }) {
    const unit = unitOf(path)
    const key = /^AllowedCPUs=/.exec(line)?.[0]
    if (unit === undefined || key === undefined) return []
    // Of two files with one name, that in the first folder counts; a unit's folder goes before that of its type.
    const names = [unit, unit.replace(/^.*\./, '')]
    const places = names.flatMap((name) => UNIT_FOLDERS.map((folder) => `${folder}/${name}.d`))
    const all = configLines(readDropIns(files, places)).filter(({ text }) => text.startsWith(key))
    const ours = all.findIndex((one) => one.path === path)
    return all
      .filter((one, index) => one.path !== path && (one.text !== key || index > ours) && one.text !== line)
      .map(configLineText)
  },
}

/**
 * Does the value of isolcpus=, nohz_full= or rcu_nocbs= name all of these CPUs? isolcpus= must have our flags too.
 * Source: Documentation/admin-guide/kernel-parameters.txt.
 */
function isolatesAll(value: string | undefined, flagged: boolean, cpus: readonly number[]): boolean {
  const [, flags = '', list = ''] = /^((?:[a-z_]+,)*)([\d,-]+|all)$/.exec(value ?? '') ?? []
  if (flagged ? !['managed_irq', 'domain'].every((flag) => flags.split(',').includes(flag)) : flags !== '') return false
  const named = list === 'all' ? cpus : (parseCpuList(list) ?? [])
  return cpus.every((cpu) => named.includes(cpu))
}

/** Returns the unit that a drop-in of ours is for. */
function unitOf(path: string): string | undefined {
  return /\/systemd\/system\/([\w-]+\.(?:slice|scope))\.d\/[^/]+$/.exec(path)?.[1]
}

/**
 * Throws a UserError, code `old-cgroups`, where systemd would read AllowedCPUs= and do nothing: control groups of
 * version 1, or a kernel without the controller. Source: systemd.resource-control(5); cgroup-v2.rst.
 */
export function expectCpuset({ configured, host: { machine } }: TuneFacts): void {
  const names = machine.list(CGROUPS)
  const controllers = machine.optionalText(`${CGROUPS}/cgroup.controllers`)
  const requested = configured.filter(({ name }) => name === 'systemd.unified_cgroup_hierarchy').at(-1)
  const old = requested !== undefined && /^(0|no|false|off)$/i.test(requested.value ?? '')
  const why = old
    ? `${requested.file}:${requested.line}: ${requested.token}`
    : names !== undefined && names.length > 0 && controllers === undefined
      ? `${CGROUPS} is of version 1`
      : controllers !== undefined && !controllers.split(/\s+/).includes('cpuset')
        ? `${CGROUPS}/cgroup.controllers has no cpuset`
        : undefined
  if (why === undefined) return
  throw new UserError(
    'old-cgroups',
    `--slices: systemd keeps nothing off CPUs here (${why}); leave it out, for kernel arguments`,
  )
}
