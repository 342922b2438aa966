import { type TuneFeature, tuneRequirements } from '../feature.ts'

/** Runs interrupt handlers as threads, which can be kept off the guest's CPUs. */
export const threadIrqs: TuneFeature = {
  name: 'threadirqs',
  option: { kind: 'flag', help: 'handle interrupts in threads' },
  requirements: () =>
    tuneRequirements('interrupts are handled by threads, which leave isolated CPUs alone', {
      arguments: ['threadirqs'],
    }),
}
