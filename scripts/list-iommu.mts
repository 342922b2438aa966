#!/usr/bin/env node
import { DEVICE_HELP } from '../lib/commands/filter.ts'
import { answerListIommu, LIST_OPTIONS } from '../lib/commands/list-iommu.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { ListIommu } from '../lib/commands/list-iommu.ts'

const script: Script = {
  name: 'list-iommu',
  summary: `Lists PCI devices by IOMMU group: what this machine can pass through to a guest.\n${DEVICE_HELP}`,
  operands: 'DEVICE',
  options: LIST_OPTIONS,
  isReadOnly: () => true,
  exits: [
    'the devices are in IOMMU groups, and something matched',
    'no IOMMU groups, or nothing matched',
    'could not look',
  ],
  examples: [
    ['list-iommu --gpu --card', 'graphics cards with all their functions'],
    ['list-iommu --gpu --driver nouveau --format addresses', 'one address a line, for other scripts'],
  ],
}

runCli(script, thisProcess(import.meta.url), answerListIommu)
