import { type TuneFeature, tuneRequirements } from '../feature.ts'
import { parameterFindings } from '../in-force.ts'

/** Passthrough without interrupt remapping. It weakens the host: for those who know why, with `--force`. */
export const unsafeInterrupts: TuneFeature = {
  name: 'unsafe-interrupts',
  option: { kind: 'flag', help: 'do without interrupt remapping; wants --force unsafe-interrupts' },

  requirements: () =>
    tuneRequirements('unsafe-interrupts', 'guests may have devices although interrupts are not remapped', {
      arguments: ['vfio_iommu_type1.allow_unsafe_interrupts=1'],
      findings: [
        {
          code: 'unsafe-interrupts',
          state: 'problem',
          summary: 'A guest that owns a device could then raise any interrupt of the host',
          evidence: ['Documentation/admin-guide/kernel-parameters.txt: allow_unsafe_interrupts'],
          next: 'switch interrupt remapping on in the firmware instead; check-host shows whether it is',
          forceable: true,
        },
      ],
    }),

  inForce: parameterFindings,
}
