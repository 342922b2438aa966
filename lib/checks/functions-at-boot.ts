import { claimsOf } from '../change/journal.ts'
import { tokensKeptBy } from '../change/settings.ts'
import { type CheckResult, okResult, problemResult } from '../core/finding.ts'
import { functionNames, readSriov, sriovObstacle, virtualFunctionsOf } from '../host/sriov.ts'
import { vfMakers } from '../host/vf-makers.ts'
import { type HostCheck, isSameSystem } from './check-facts.ts'

/** Will the virtual functions of now be there after a boot? The kernel keeps none: something has to make them again. */
export const functionsAtBootCheck: HostCheck<'host' | 'pci' | 'journal'> = {
  code: 'virtual-functions-at-boot',
  askedBy: ['host'],
  run({ host, pci: { devices }, journal }) {
    const { machine, files } = host
    const kept = tokensKeptBy(
      claimsOf(journal).map(({ setting }) => setting),
      'virtual-functions',
    )
    if (!isSameSystem(host)) return []
    return devices.flatMap((device): CheckResult[] => {
      const functions = virtualFunctionsOf(machine, device, devices)
      if (functions.length === 0) return []
      const { address } = device
      const number = readSriov(machine, device)?.number ?? functions.length
      const here = `${address} has ${number} virtual function${number === 1 ? '' : 's'}`
      const own = kept.find((token) => token.startsWith(`${address}=`))?.split('=')[1]
      if (own === String(number)) return [okResult(`${here}, made at every boot by tune-host`)]
      if (own !== undefined)
        return [
          problemResult(`${here}, and tune-host makes ${own} at boot`, [], `tune-host --vfs ${address}=${number}`),
        ]
      const makers = vfMakers(files, functionNames(machine, device))
      if (makers.length > 0) return [okResult(`${here}, and files that may make them at boot`, makers)]
      return [
        problemResult(
          `${here}, and nothing that is known here makes them at boot`,
          functions.map((one) => `${one.device.address}${one.device.driver === null ? '' : ` (${one.device.driver})`}`),
          `a guest that has one will not start after a reboot: ${sriovObstacle(machine, device) ?? `tune-host --vfs ${address}=${number}`}`,
        ),
      ]
    })
  },
}
