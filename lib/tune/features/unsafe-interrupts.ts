import { type CheckName, problemResult, toFinding } from '../../core/finding.ts'
import { type TuneFeature, tuneRequirements } from '../feature.ts'
import { parameterFindings } from '../in-force.ts'

const unsafeInterruptsGuard: CheckName = { code: 'unsafe-interrupts', forceable: true }

/** Allows passthrough without interrupt remapping. This weakens the host, so it needs `--force`. */
export const unsafeInterrupts: TuneFeature = {
  name: 'unsafe-interrupts',
  option: { kind: 'flag', help: 'do without interrupt remapping; wants --force unsafe-interrupts' },
  guards: [unsafeInterruptsGuard],

  requirements: () =>
    tuneRequirements('guests may have devices although interrupts are not remapped', {
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
    }),

  inForce: parameterFindings,
}
