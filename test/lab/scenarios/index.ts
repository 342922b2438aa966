import type { Scenario } from '../scenario.ts'
import { listIommuAmd, listIommuIntel } from './list-iommu.ts'

export const scenarios: readonly Scenario[] = [listIommuIntel, listIommuAmd]
