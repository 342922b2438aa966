import { type CheckName, problemResult, toFinding } from '../../core/finding.ts'
import { expectUnset, type TuneFacts, type TuneFeature, tuneRequirements } from '../feature.ts'

const acsOverrideGuard: CheckName = { code: 'acs-override', forceable: true }

/** Splits IOMMU groups though the hardware does not isolate. This weakens the host, so it needs `--force`. */
export const acsOverride: TuneFeature = {
  name: 'acs-override',
  option: { kind: 'flag', help: 'split IOMMU groups that are one; wants --force acs-override' },
  guards: [acsOverrideGuard],

  requirements(facts) {
    const without = facts.host.kernels.filter(({ release }) => !hasAcsOverride(facts, release))
    const tokens = ['pcie_acs_override=downstream,multifunction']
    expectUnset(facts, 'acs-override', tokens)
    return tuneRequirements('devices are put into groups of their own, whether they are isolated or not', {
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
                'A device of a guest may then read and write memory of the host, and the IOMMU does not stop it',
                ['the kernel then takes devices for isolated that the hardware does not isolate'],
                'put the card into another slot: list-iommu shows the groups',
              ),
            ),
      ],
    })
  },
}

/** Does the kernel have the patch? No configuration symbol shows it, but the kernel's name or the text of its image. */
function hasAcsOverride({ host: { files } }: TuneFacts, release: string): boolean {
  if (/-(zen|cachyos|pve|xanmod|liquorix|tkg)/i.test(release)) return true
  const map = files.optionalBytes(`/boot/System.map-${release}`)?.toString('latin1')
  return map?.includes('pcie_acs_override_setup') ?? false
}
