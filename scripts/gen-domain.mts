#!/usr/bin/env node
import { answerDomain } from '../lib/commands/gen-domain.ts'
import { DOMAIN_OPTIONS } from '../lib/commands/guest-options.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { GenDomain } from '../lib/commands/gen-domain.ts'

const script: Script = {
  name: 'gen-domain',
  summary:
    'Prints the libvirt domain of a guest that owns PCI devices, from what the host has; or changes one (--patch).\n' +
    'DEVICE is an address (0000:01:00.0, 01:00.0), a slot (01:00, all its functions), an ID (10de:1cb6) or group:14.',
  options: DOMAIN_OPTIONS,
  exits: [
    'the domain was printed',
    'with --diff: there is something to change',
    'could not: bad usage, refused by a guard, or a document that is not well-formed',
  ],
  examples: [
    ['gen-domain --name win11 --guest windows11 --gpu 01:00 --disk /dev/disk/by-id/… > win11.xml', 'a new guest'],
    ['virsh dumpxml win10 | gen-domain --patch - --gpu 01:00 | virsh define /dev/stdin', 'a card for a guest there is'],
  ],
}

runCli(script, thisProcess(import.meta.url), answerDomain)
