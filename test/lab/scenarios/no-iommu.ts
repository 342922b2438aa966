import { expectCode } from '../expect.ts'
import { none } from '../machines.ts'
import type { Scenario } from '../scenario.ts'

export const noIommu: Scenario = {
  name: 'no-iommu',
  about: 'a machine without an IOMMU: exit 1, and why',
  async run(lab) {
    const guest = await lab.start(none)
    await lab.step('list-iommu says what is missing', async () => {
      const ours = await guest.run('list-iommu')
      expectCode('list-iommu', ours, 1, /^No IOMMU groups\. \S+/m)
      const said = ours.stdout.trim().split('\n').at(-1) ?? ''
      lab.note(said)
    })
    await lab.step('list-iommu --json gives the reason', async () => {
      const ours = await guest.run('list-iommu --json')
      expectCode('list-iommu --json', ours, 1, /"enabled": ?false/)
    })
  },
}
