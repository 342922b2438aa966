#!/usr/bin/env node
import { adapters } from '../distros/index.ts'
import { answerCheckHost, CHECK_OPTIONS } from '../lib/commands/check-host.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { CheckHost } from '../lib/commands/check-host.ts'

const script: Script = {
  name: 'check-host',
  summary:
    'Is this host ready for guests that own devices, and if not, why? Each finding with its evidence and the next step.',
  options: CHECK_OPTIONS,
  isReadOnly: (given) => !given.flag('apply'),
  exits: [
    'healthy, or the ROM was read',
    'there are problems, or there is a plan',
    'could not look: bad usage, unreadable input',
  ],
  examples: [
    ['check-host', 'the host: CPU, firmware, kernel, programs, settings'],
    ['check-host --device 01:00', 'this card too: before it is bound, or after the reboot'],
    ['check-host --device 01:00 --dump-rom card.rom --apply', 'its ROM, for gen-domain --rom'],
    ['check-host --guest win11', 'a guest while it runs: are its CPUs, huge pages and devices as it asks?'],
  ],
}

runCli(script, thisProcess(import.meta.url), (context) => answerCheckHost(context, adapters))
