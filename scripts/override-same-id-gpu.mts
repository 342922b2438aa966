#!/usr/bin/env node
import { adapters } from '../distros/index.ts'
import { bindOptions } from '../lib/commands/bind-vfio.ts'
import { answerOverride, requestsAction } from '../lib/commands/override-same-id-gpu.ts'
import { runCli } from '../lib/commands/run-script.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import type { Script } from '../lib/terminal/options.ts'

export type { EqualCards as Twins } from '../lib/commands/override-same-id-gpu.ts'
export type { BindVfio } from '../lib/views/changes.ts'

const script: Script = {
  name: 'override-same-id-gpu',
  summary:
    'Has the host boot with one of several equal devices on vfio-pci: by address, from the first second of boot.\n' +
    'DEVICE is an address (06:00.0), a slot (06:00, all its functions) or group:14; without one, the equal devices are listed.\n' +
    'What shares an IOMMU group with a device goes along. Nothing is written without --apply.',
  operands: 'DEVICE',
  options: bindOptions(adapters),
  isReadOnly: (given) =>
    ['status', 'predict', 'kernel-config'].some((mode) => given.flag(mode)) || !requestsAction(given),
  exits: [
    'applied, nothing to do, (--status) bound as planned, or equal devices were listed',
    'a plan that was not applied, (--status) not bound as planned, or no two devices are equal',
    'could not: bad usage, refused by a guard, or failed and put back',
  ],
  examples: [
    ['override-same-id-gpu', 'which devices share an ID, and which one shows the console?'],
    ['override-same-id-gpu 06:00 --apply', 'give the card in slot 06:00 to guests; then reboot'],
  ],
}

runCli(script, thisProcess(import.meta.url), (context) => answerOverride(context, adapters))
