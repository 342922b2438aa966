#!/usr/bin/env node
import { answerCheckReset, RESET_OPTIONS } from '../lib/commands/check-reset.ts'
import { DEVICE_HELP } from '../lib/commands/filter.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { CheckReset } from '../lib/commands/check-reset.ts'

const script: Script = {
  name: 'check-reset',
  summary: `Says whether cards can be reset when a guest that owns them stops (default: all).\n${DEVICE_HELP}`,
  operands: 'DEVICE',
  options: RESET_OPTIONS,
  isReadOnly: () => true,
  exits: [
    'every card can be reset without harm to the host',
    'a card cannot be reset, VFIO would refuse it, it failed already, or nothing matched',
    'could not look',
  ],
  examples: [
    ['check-reset 01:00', 'the card in slot 01:00'],
    ['check-reset --gpu --json', 'all graphics cards, for a program'],
  ],
}

runCli(script, thisProcess(import.meta.url), answerCheckReset)
