import { UserError } from '../core/error.ts'
import { pinVcpus } from '../cpu/pinning.ts'
import { cpuList, readCpus } from '../host/cpu.ts'
import {
  expectSystemd,
  expectUnset,
  ownLine,
  type TuneFacts,
  type TuneRequirements,
  tuneRequirements,
} from './feature.ts'

/** All that systemd starts; guests are in machine.slice. Source: systemd.special(7). */
const UNITS = [
  ['system.slice', '[Slice]\n'],
  ['user.slice', '[Slice]\n'],
  ['init.scope', '[Scope]\n'],
] as const

const CGROUPS = '/sys/fs/cgroup'

/**
 * Keeps the host's work off the CPUs that gen-domain pins a guest of this size to: by kernel arguments from boot on, or
 * (`slices`) by systemd while it runs. Throws the UserErrors of `pinVcpus`, and `old-cgroups`.
 * Source: Documentation/admin-guide/kernel-parameters.txt (isolcpus, nohz_full, rcu_nocbs); systemd.resource-control(5).
 */
export function requireIsolation(
  facts: TuneFacts,
  requested: { vcpus: number; near: string | undefined; prefer: 'cache' | 'frequency' | undefined; slices: boolean },
): TuneRequirements {
  const { machine, kernels } = facts.host
  const node = facts.devices.find(({ address }) => address === requested.near)?.numaNode ?? undefined
  const pinning = pinVcpus(readCpus(machine), { size: { vcpus: requested.vcpus }, prefer: requested.prefer, node })
  const guest = cpuList([...pinning.vcpus.map(({ cpu }) => cpu), ...pinning.idle].sort((one, other) => one - other))
  const host = cpuList(pinning.host)
  const reason = `CPUs ${guest} are for guests, ${host} for the host`
  if (requested.slices) {
    expectSystemd(facts, '--slices', 'leave it out, for kernel arguments')
    expectCpuset(facts)
    return tuneRequirements('isolate', reason, {
      replaces: () => true,
      files: UNITS.map(([unit, section]) =>
        ownLine(`/etc/systemd/system/${unit}.d/vfio-scripts.conf`, `AllowedCPUs=${host}`, reason, section),
      ),
      notes: pinning.reasons,
    })
  }
  // Without the option in the kernel, it would say so in its log and go on.
  const ticks = kernels.every(({ config }) => config('CONFIG_NO_HZ_FULL') !== 'n')
  const tokens = [
    `isolcpus=managed_irq,domain,${guest}`,
    ...(ticks ? [`nohz_full=${guest}`] : []),
    `rcu_nocbs=${guest}`,
  ]
  expectUnset(facts, 'isolate', tokens)
  const left = ticks ? [] : ['nohz_full is left out: the kernel was built without CONFIG_NO_HZ_FULL.']
  return tuneRequirements('isolate', reason, {
    arguments: tokens,
    notes: [...pinning.reasons, ...left],
    replaces: () => true,
  })
}

/**
 * Throws a UserError, code `old-cgroups`, where systemd would read AllowedCPUs= and do nothing: control groups of
 * version 1, or a kernel without the controller. Source: systemd.resource-control(5); cgroup-v2.rst.
 */
function expectCpuset({ configured, host: { machine } }: TuneFacts): void {
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
