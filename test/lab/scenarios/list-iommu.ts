import { expectCode, expectSame } from '../expect.ts'
import { amd, intel, type Machine } from '../machines.ts'
import type { Lab, Scenario } from '../scenario.ts'

/** The loop that the guides print (wiki.archlinux.org, PCI passthrough via OVMF), groups in numeric order. */
const guide = `for d in $(find /sys/kernel/iommu_groups/ -type l | LC_ALL=C sort -n -k5 -t/); do
  n=\${d#*/iommu_groups/*}; n=\${n%%/*}
  printf 'IOMMU Group %s ' "$n"
  lspci -nns "\${d##*/}"
done`

async function compare(lab: Lab, machine: Machine): Promise<void> {
  const guest = await lab.start(machine)
  const loop = await lab.step('the loop of the guides', () => guest.run(guide))
  const ours = await lab.step('list-iommu --format lspci', () => guest.run('list-iommu --format lspci'))
  expectCode('list-iommu', ours, 0)
  expectSame('list-iommu --format lspci', ours.stdout, loop.stdout)
}

export const listIommuIntel: Scenario = {
  name: 'list-iommu-intel',
  about: 'list-iommu is the guides’ loop and lspci -nnk, byte for byte',
  run: (lab) => compare(lab, intel),
}

export const listIommuAmd: Scenario = {
  name: 'list-iommu-amd',
  about: 'the same under an AMD IOMMU',
  run: (lab) => compare(lab, amd),
}
