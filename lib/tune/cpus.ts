import { pinVcpus } from '../domain/pinning.ts'
import { cpuList, readCpus } from '../host/cpu.ts'
import { expectSystemd, expectUnset, ownLine, type TuneFacts, type Wish, wish } from './feature.ts'

/** All that systemd starts; guests are in machine.slice. Source: systemd.special(7). */
const UNITS = [
  ['system.slice', '[Slice]\n'],
  ['user.slice', '[Slice]\n'],
  ['init.scope', '[Scope]\n'],
] as const

/**
 * Keeps the host's work off the CPUs that gen-domain pins a guest of this size to: by kernel arguments from boot on, or
 * (`slices`) by systemd while it runs. Throws the UserErrors of `pinVcpus`.
 * Source: Documentation/admin-guide/kernel-parameters.txt (isolcpus, nohz_full, rcu_nocbs); systemd.resource-control(5).
 */
export function isolate(
  facts: TuneFacts,
  asked: { vcpus: number; near: string | undefined; prefer: 'cache' | 'frequency' | undefined; slices: boolean },
): Wish {
  const { machine, kernels } = facts.host
  const node = facts.devices.find(({ address }) => address === asked.near)?.numaNode ?? undefined
  const pinning = pinVcpus(readCpus(machine), { size: { vcpus: asked.vcpus }, prefer: asked.prefer, node })
  const guest = cpuList([...pinning.vcpus.map(({ cpu }) => cpu), ...pinning.idle].sort((one, other) => one - other))
  const host = cpuList(pinning.host)
  const reason = `CPUs ${guest} are for guests, ${host} for the host`
  if (asked.slices) {
    expectSystemd(facts, '--slices', 'leave it out, for kernel arguments')
    return wish('isolate', reason, {
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
  return wish('isolate', reason, { arguments: tokens, notes: [...pinning.reasons, ...left], replaces: () => true })
}
