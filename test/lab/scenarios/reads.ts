import { expectCode } from '../expect.ts'
import { amd, intel, type Machine, none } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { readBackCheckReset, readBackListIommu } from './capture.ts'
import { compareCheckHost, type FoundStates } from './check-host.ts'
import { compareCheckReset } from './check-reset.ts'
import { compareListIommu } from './list-iommu.ts'

// What only looks at a machine, in one boot of each.

function scenario(name: string, about: string, machine: Machine, states: FoundStates): Scenario {
  return {
    name: `reads-${name}`,
    about: `list-iommu, check-reset, check-host and captures agree with the guides, lspci and the kernel: ${about}`,
    async run(lab) {
      const guest = await lab.start(machine)
      // The other scenarios wait for it.
      const capture = await lab.capture(machine, 'list-iommu', guest)
      const listed = await compareListIommu(lab, guest, capture)
      await readBackListIommu(lab, capture, listed)
      await compareCheckReset(lab, guest)
      await readBackCheckReset(lab, guest)
      await compareCheckHost(lab, guest, states)
    },
  }
}

const without: Scenario = {
  name: 'reads-none',
  about: 'a machine without an IOMMU: list-iommu ends with 1 and says why, check-host too',
  async run(lab) {
    const guest = await lab.start(none)
    await lab.step('list-iommu says what is missing', async () => {
      const ours = await guest.run('list-iommu')
      expectCode('list-iommu', ours, 1, /^No IOMMU groups\. \S+/m)
      lab.note(ours.stdout.trim().split('\n').at(-1) ?? '')
    })
    await lab.step('list-iommu --json gives the reason', async () => {
      expectCode('list-iommu --json', await guest.run('list-iommu --json'), 1, /"enabled": ?false/)
    })
    await compareCheckHost(lab, guest, { iommu: 'problem', 'interrupt-remapping': 'problem' })
  },
}

export const reads: readonly Scenario[] = [
  scenario('intel', 'an Intel IOMMU with interrupt remapping, a CPU without VT-x', intel, {
    ...{ iommu: 'ok', 'interrupt-remapping': 'ok', 'cpu-virtualisation': 'problem' },
  }),
  scenario('amd', 'an AMD IOMMU, a CPU with AMD-V', amd, {
    ...{ iommu: 'ok', 'interrupt-remapping': 'ok', 'cpu-virtualisation': 'ok' },
  }),
  without,
]
