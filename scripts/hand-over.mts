#!/usr/bin/env node
import { adapters } from '../distros/index.ts'
import { answerHandOver, HAND_OVER_OPTIONS } from '../lib/commands/hand-over.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { BindVfio as HandOver } from '../lib/views/changes.ts'

const script: Script = {
  name: 'hand-over',
  summary:
    'Gives a card to a guest when it starts, and back to the host when it stops; the only GPU too.\n' +
    'GUEST is the name of a guest of libvirt, DEVICE the card (0000:01:00.0, 01:00, 10de:1f82).\n' +
    'Nothing is written without --apply.',
  operands: 'GUEST DEVICE',
  options: HAND_OVER_OPTIONS,
  isReadOnly: (given) => given.flag('status'),
  exits: [
    'applied, nothing to do, or (--status) all is as planned',
    'a plan that was not applied, or (--status) not as planned',
    'could not: bad usage, refused by a guard, or failed and put back',
  ],
  examples: [
    ['hand-over win11 01:00', 'who has the card now, and what would be stopped'],
    ['hand-over win11 01:00 --rehearse --apply', 'away and back once, without the guest'],
    ['hand-over win11 01:00 --apply', 'from now on, at each start and stop of win11'],
  ],
}

runCli(script, thisProcess(import.meta.url), (context) => answerHandOver(context, adapters))
