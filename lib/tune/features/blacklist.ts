import { UserError } from '../../core/error.ts'
import { type CheckName, evidenceResult, type Finding, toFinding } from '../../core/finding.ts'
import { moduleName } from '../../edit/modprobe.ts'
import { readModuleUsage } from '../../host/module-use.ts'
import { type TuneFeature, tuneRequirements } from '../feature.ts'
import { inForceFinding, matchSettings } from '../in-force.ts'

const driverNeededGuard: CheckName = { code: 'driver-needed' }

/**
 * Keeps a module from ever being loaded; refused while the host or a guest needs it. Source: kernel-parameters.txt,
 * module_blacklist=, which takes the name of the loaded module, with `_`.
 */
export const blacklist: TuneFeature = {
  name: 'blacklist',
  option: { kind: 'list', value: 'MODULE', help: 'never load this driver (no other device has it)' },
  guards: [driverNeededGuard],

  requirements({ devices, host: { kernels, machine, files } }, given) {
    const modules = given.list('blacklist').map(moduleName)
    const dependencies = (module: string): string[] => kernels.flatMap((kernel) => kernel.dependencies(module))
    const findings = modules.map((module): Finding => {
      if (!/^\w+$/.test(module)) throw new UserError('usage', `--blacklist ${module}: not the name of a module`)
      const builtin = kernels.find((kernel) => kernel.provides(module) === 'builtin')
      const using = devices.filter(({ driver }) => driver !== null && moduleName(driver) === module)
      const { evidence, unseen: unreadable } = readModuleUsage(machine, files, module, modules, dependencies)
      const own = using.map(({ address, driver }) => `${address} is on ${driver}`)
      const result = evidenceResult({
        problem:
          builtin === undefined ? `The host needs ${module}` : `${module} is built into Linux ${builtin.release}`,
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
    const ofDevices = devices.flatMap((one) => [...(one.modules ?? []), ...(one.driver === null ? [] : [one.driver])])
    const drivers = [...new Set(ofDevices.map(moduleName))].sort()
    const loaded = machine.optionalText('/proc/modules') ?? ''
    const nowhere = modules.find(
      (module, index) =>
        findings[index]?.state !== 'problem' &&
        !drivers.includes(module) &&
        !new RegExp(`^${module} `, 'm').test(loaded) &&
        kernels.length > 0 &&
        kernels.every((kernel) => kernel.provides(module) === 'absent'),
    )
    if (nowhere !== undefined)
      throw new UserError(
        'no-module',
        `--blacklist ${nowhere}: no installed kernel has such a module; for the devices here there is ${drivers.join(', ') || 'none'}`,
      )
    return tuneRequirements(`${modules.join(' and ')} is never loaded`, {
      arguments: modules.map((module) => `module_blacklist=${module}`),
      findings,
    })
  },

  inForce({ machine }, settings) {
    const modules = machine.optionalBytes('/proc/modules')?.toString('latin1')
    const names = matchSettings(settings, /^module_blacklist=(.+)$/).flatMap(([, list = '']) => list.split(','))
    if (modules === undefined) return []
    return names.map((name) => {
      const loaded = new RegExp(`^${moduleName(name)} `, 'm').test(modules)
      return inForceFinding('blacklist', !loaded, `${name} is ${loaded ? '' : 'not '}loaded`, ['/proc/modules'])
    })
  },
}
