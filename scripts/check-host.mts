#!/usr/bin/env node
import { adapters } from '../distros/index.ts'
import { thisProcess } from '../lib/cli/caller.ts'
import { answerCheck, CHECK_OPTIONS } from '../lib/cli/checking.ts'
import type { Script } from '../lib/cli/options.ts'
import { run } from '../lib/cli/run.ts'

export type { CheckHost } from '../lib/cli/checking.ts'

const script: Script = {
  name: 'check-host',
  summary:
    'Is this host ready for guests that own devices, and if not, why? Each finding with its evidence and the next step.',
  options: CHECK_OPTIONS,
  looks: () => true,
  exits: ['healthy', 'there are problems', 'could not look: bad usage, unreadable input'],
  examples: [
    ['check-host', 'the host: CPU, firmware, kernel, programs, settings'],
    ['check-host --device 01:00', 'this card too: before it is bound, or after the reboot'],
  ],
}

run(script, thisProcess(import.meta.url), (context) => answerCheck(context, adapters))
