#!/usr/bin/env node
import { adapters } from '../distros/index.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { answerTuneHost, tuneOptions } from '../lib/commands/tune-host.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { BindVfio as TuneHost } from '../lib/views/changes.ts'

const script: Script = {
  name: 'tune-host',
  summary:
    'Sets the host up for guests: huge pages, CPUs, drivers, who may use what; shows, applies, checks, takes back.\n' +
    'Each option is a feature of its own; FEATURE, with --undo, is the name of one (hugepages).\n' +
    'Nothing is written without --apply.',
  operands: 'FEATURE',
  options: tuneOptions(adapters),
  isReadOnly: (given) => given.flag('status'),
  exits: [
    'applied, nothing to do, or (--status) in force',
    'a plan that was not applied, or (--status) not in force',
    'could not: bad usage, refused by a guard, or failed and put back',
  ],
  examples: [
    ['tune-host --hugepages 16G', 'the plan for a guest of 16 GiB'],
    ['tune-host --hugepages 16G --vfio-group kvm --apply', 'set both up; then reboot'],
  ],
}

runCli(script, thisProcess(import.meta.url), (context) => answerTuneHost(context, adapters))
