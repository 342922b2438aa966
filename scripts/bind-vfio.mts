#!/usr/bin/env node
import { adapters } from '../distros/index.ts'
import { answerBindVfio, bindOptions } from '../lib/commands/bind-vfio.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { BindVfio } from '../lib/views/changes.ts'

const script: Script = {
  name: 'bind-vfio',
  summary:
    'Has the host boot with devices on vfio-pci, so that a guest can own them; shows, applies, checks, takes back.\n' +
    'DEVICE is an address (0000:01:00.0, 01:00.0), a slot (01:00, all its functions), an ID (10de:1cb6) or group:14.\n' +
    'What shares an IOMMU group with a device goes along. Nothing is written without --apply.',
  operands: 'DEVICE',
  options: bindOptions(adapters),
  isReadOnly: (given) => ['status', 'predict', 'kernel-config'].some((mode) => given.flag(mode)),
  exits: [
    'applied, nothing to do, or (--status) bound as planned',
    'a plan that was not applied, or (--status) not bound as planned',
    'could not: bad usage, refused by a guard, or failed and put back',
  ],
  examples: [
    ['bind-vfio 01:00', 'the plan for the card in slot 01:00'],
    ['bind-vfio 01:00 --apply', 'write it and make the boot files again; then reboot'],
  ],
}

runCli(script, thisProcess(import.meta.url), (context) => answerBindVfio(context, adapters))
