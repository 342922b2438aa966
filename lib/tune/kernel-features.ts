import { acsOverrideGuard, driverNeededGuard, unsafeInterruptsGuard } from '../checks/tuning-guards.ts'
import { UserError } from '../core/error.ts'
import { evidenceResult, type Finding, problemResult, toFinding } from '../core/finding.ts'
import { moduleName } from '../edit/modprobe.ts'
import { readModuleUsage } from '../host/module-use.ts'
import {
  describedHost,
  expectSystemd,
  expectUnset,
  ownLine,
  type TuneFacts,
  type TuneRequirements,
  tuneRequirements,
} from './feature.ts'

const MODPROBE = '/etc/modprobe.d/vfio-scripts-kvm.conf'
const CPUFREQ = '/sys/devices/system/cpu'

/** The governor of all CPUs, from boot on. Source: Documentation/admin-guide/pm/cpufreq.rst (since Linux 5.9). */
export function requireGovernor(facts: TuneFacts, name: string): TuneRequirements {
  const { machine } = facts.host
  const policy = (machine.list(`${CPUFREQ}/cpufreq`) ?? []).find((one) => /^policy\d+$/.test(one))
  const known = machine.optionalText(`${CPUFREQ}/cpufreq/${policy}/scaling_available_governors`)?.trim().split(/\s+/)
  if (!/^\w+$/.test(name) || (known !== undefined && !known.includes(name)))
    throw new UserError('usage', `--governor ${name}: this machine has ${known?.join(', ') ?? 'no such governor'}`)
  const reason = `all CPUs start with the governor ${name}`
  const described = describedHost(facts)?.governor(name)
  if (described !== undefined) return tuneRequirements('governor', reason, { items: [described], replaces: () => true })
  const tokens = [`cpufreq.default_governor=${name}`]
  expectUnset(facts, 'governor', tokens)
  return tuneRequirements('governor', reason, { arguments: tokens, replaces: () => true })
}

/** Interrupt handlers as threads, which can be kept off the guest's CPUs. */
export function requireThreadIrqs(): TuneRequirements {
  return tuneRequirements('threadirqs', 'interrupts are handled by threads, which leave isolated CPUs alone', {
    arguments: ['threadirqs'],
  })
}

/** Windows guests read model-specific registers that KVM does not know. Source: kvm.ignore_msrs in the kernel's parameters. */
export function requireIgnoreMsrs({ host: { kernels } }: TuneFacts): TuneRequirements {
  const reason = 'guests may read registers that KVM does not know, without a fault'
  const options = ['ignore_msrs=1', 'report_ignored_msrs=0']
  if (kernels.some((kernel) => kernel.provides('kvm') === 'builtin'))
    return tuneRequirements('ignore-msrs', reason, { arguments: options.map((option) => `kvm.${option}`) })
  return tuneRequirements('ignore-msrs', reason, {
    files: [ownLine(MODPROBE, `options kvm ${options.join(' ')}`, reason)],
    rebootNeeded: true,
  })
}

/**
 * A module that is never loaded. Refused while the host, or a guest, needs it. Source: kernel-parameters.txt,
 * module_blacklist=, which knows a module by the name that it has when it is loaded, with `_`.
 */
export function requireBlacklist({ devices, host }: TuneFacts, given: readonly string[]): TuneRequirements {
  const { kernels, machine, files } = host
  const modules = given.map(moduleName)
  const requirements = (module: string): string[] => kernels.flatMap((kernel) => kernel.dependencies(module))
  const findings = modules.map((module): Finding => {
    if (!/^\w+$/.test(module)) throw new UserError('usage', `--blacklist ${module}: not the name of a module`)
    const builtin = kernels.find((kernel) => kernel.provides(module) === 'builtin')
    const using = devices.filter(({ driver }) => driver !== null && moduleName(driver) === module)
    const { evidence, unseen: unreadable } = readModuleUsage(machine, files, module, modules, requirements)
    const own = using.map(({ address, driver }) => `${address} is on ${driver}`)
    const result = evidenceResult({
      problem: builtin === undefined ? `The host needs ${module}` : `${module} is built into Linux ${builtin.release}`,
      ok: `Nothing of the host needs ${module}`,
      next: builtin === undefined ? 'bind its devices with bind-vfio first, or leave it' : 'it cannot be left out',
      evidence: [
        ...(builtin === undefined ? [] : [`modules.builtin of Linux ${builtin.release}`]),
        ...new Set([...own, ...evidence]),
      ],
      unreadable,
    })
    return toFinding(driverNeededGuard, result)
  })
  const nowhere = modules.filter((module) => kernels.every((kernel) => kernel.provides(module) === 'absent'))
  return tuneRequirements('blacklist', `${modules.join(' and ')} is never loaded`, {
    arguments: modules.map((module) => `module_blacklist=${module}`),
    notes: nowhere.map((module) => `No installed kernel has a module ${module}.`),
    findings,
  })
}

/** No display manager at boot: the graphics card is free for a guest. */
export function requireTextMode(facts: TuneFacts): TuneRequirements {
  expectSystemd(facts, '--text-mode', 'with OpenRC: rc-update del display-manager default')
  const tokens = ['systemd.unit=multi-user.target']
  expectUnset(facts, 'text-mode', tokens)
  return tuneRequirements('text-mode', 'the host starts without a display manager', { arguments: tokens })
}

/** What weakens the host, and is done for those who know why only: each needs `--force` with its own name. */
export function requireUnsafeSetting(facts: TuneFacts, which: 'unsafe-interrupts' | 'acs-override'): TuneRequirements {
  const { kernels } = facts.host
  if (which === 'unsafe-interrupts')
    return tuneRequirements(which, 'guests may have devices although interrupts are not remapped', {
      arguments: ['vfio_iommu_type1.allow_unsafe_interrupts=1'],
      findings: [
        toFinding(
          unsafeInterruptsGuard,
          problemResult(
            'A guest that owns a device could then raise any interrupt of the host',
            ['Documentation/admin-guide/kernel-parameters.txt: allow_unsafe_interrupts'],
            'switch interrupt remapping on in the firmware instead; check-host shows whether it is',
          ),
        ),
      ],
    })
  const without = kernels.filter(({ release }) => !hasAcsOverride(facts, release))
  const tokens = ['pcie_acs_override=downstream,multifunction']
  expectUnset(facts, which, tokens)
  return tuneRequirements(which, 'devices are put into groups of their own, whether they are isolated or not', {
    arguments: tokens,
    findings: [
      without.length > 0
        ? toFinding(
            { ...acsOverrideGuard, forceable: false },
            problemResult(
              `Linux ${without.map(({ release }) => release).join(', ')} does not have it: no kernel of a large distribution does`,
              ['it comes with a patch (linux-zen, CachyOS, Proxmox)'],
              'install such a kernel, or put the card into another slot: list-iommu shows the groups',
            ),
          )
        : toFinding(
            acsOverrideGuard,
            problemResult(
              'Devices of one group can then reach each other’s memory past the IOMMU: a guest may break out',
              ['the kernel is told of isolation that the hardware does not promise'],
              'put the card into another slot: list-iommu shows the groups',
            ),
          ),
    ],
  })
}

/** The patch shows in no symbol of the configuration: names of kernels that carry it, or its own text in the image. */
function hasAcsOverride({ host: { files } }: TuneFacts, release: string): boolean {
  if (/-(zen|cachyos|pve|xanmod|liquorix|tkg)/i.test(release)) return true
  const map = files.optionalBytes(`/boot/System.map-${release}`)?.toString('latin1')
  return map?.includes('pcie_acs_override_setup') ?? false
}
