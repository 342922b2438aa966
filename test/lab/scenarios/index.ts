import type { Scenario } from '../scenario.ts'
import { appArmor } from './apparmor.ts'
import { bindVfio } from './bind-vfio.ts'
import { bridges } from './bridge.ts'
import { captureRooted } from './capture.ts'
import { genDomain } from './gen-domain.ts'
import { handOvers } from './hand-over.ts'
import { handOverFaults } from './hand-over-faults.ts'
import { movedCard } from './moved-card.ts'
import { networkFrame } from './network-frame.ts'
import { networkFunctions, networkFunctionsOfHost } from './network-functions.ts'
import { override } from './override.ts'
import { ownKernels } from './own-kernel.ts'
import { powerCut } from './power-cut.ts'
import { predictions } from './predict.ts'
import { reads } from './reads.ts'
import { runbook } from './setup.ts'
import { startUp } from './start-up.ts'
import { tuneHost } from './tune-host.ts'
import { virtualFunctionsOfNvme } from './virtual-functions.ts'
import { whileRunning } from './while-running.ts'

/** In the order in which they start: those that make captures for all others, then the long ones, so that two at a time end together. */
export const scenarios: readonly Scenario[] = [
  ...reads,
  ...handOvers,
  networkFunctions,
  ...tuneHost,
  ...bindVfio,
  genDomain,
  ...override,
  ...bridges,
  virtualFunctionsOfNvme,
  networkFunctionsOfHost,
  networkFrame,
  ...predictions,
  ...ownKernels,
  runbook,
  appArmor,
  whileRunning,
  handOverFaults,
  powerCut,
  captureRooted,
  movedCard,
  startUp,
]
