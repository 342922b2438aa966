import type { Scenario } from '../scenario.ts'
import { appArmor } from './apparmor.ts'
import { bindVfio } from './bind-vfio.ts'
import { bridges } from './bridge.ts'
import { captureAmd, captureIntel, captureRooted } from './capture.ts'
import { checkHost } from './check-host.ts'
import { checkResetAmd, checkResetIntel } from './check-reset.ts'
import { genDomain } from './gen-domain.ts'
import { handOvers } from './hand-over.ts'
import { handOverFaults } from './hand-over-faults.ts'
import { listIommuAmd, listIommuIntel } from './list-iommu.ts'
import { movedCard } from './moved-card.ts'
import { networkFunctions } from './network-functions.ts'
import { noIommu } from './no-iommu.ts'
import { override } from './override.ts'
import { powerCut } from './power-cut.ts'
import { predictions } from './predict.ts'
import { runbook } from './setup.ts'
import { startUp } from './start-up.ts'
import { tuneHost } from './tune-host.ts'
import { virtualFunctionsOfNvme } from './virtual-functions.ts'
import { whileRunning } from './while-running.ts'

/** In the order in which they start: the long ones first, so that two at a time end together. */
export const scenarios: readonly Scenario[] = [
  ...bindVfio,
  ...override,
  ...tuneHost,
  ...bridges,
  virtualFunctionsOfNvme,
  networkFunctions,
  ...predictions,
  runbook,
  genDomain,
  appArmor,
  ...handOvers,
  whileRunning,
  handOverFaults,
  powerCut,
  captureRooted,
  listIommuIntel,
  listIommuAmd,
  checkResetIntel,
  checkResetAmd,
  ...checkHost,
  captureIntel,
  captureAmd,
  noIommu,
  movedCard,
  startUp,
]
