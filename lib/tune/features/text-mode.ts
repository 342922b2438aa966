import { expectSystemd, expectUnset, type TuneFeature, tuneRequirements } from '../feature.ts'

/** Starts no display manager at boot, so that the graphics card is free for a guest. */
export const textMode: TuneFeature = {
  name: 'text-mode',
  option: { kind: 'flag', help: 'start the host without a display manager' },

  requirements(facts) {
    expectSystemd(facts, '--text-mode', 'with OpenRC: rc-update del display-manager default')
    const tokens = ['systemd.unit=multi-user.target']
    expectUnset(facts, 'text-mode', tokens)
    return tuneRequirements('the host starts without a display manager', { arguments: tokens })
  },
}
