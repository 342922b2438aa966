#!/usr/bin/env node
import { type CardReset, isBadReset, judgeResets, readResetFacts } from '../lib/bind/reset.ts'
import {
  CAPTURE_OPTION,
  DEVICE_HELP,
  FILTER_OPTIONS,
  filterDevices,
  filterFrom,
  selectedGroups,
} from '../lib/commands/filter.ts'
import { type Answer, type Context, runCli } from '../lib/commands/run-script.ts'
import { readMessageInterrupts, readPower } from '../lib/host/config-space.ts'
import { readKernelLog } from '../lib/host/kernel-log.ts'
import { readPciFacts } from '../lib/host/machine.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import { formatFrom, type Script } from '../lib/terminal/options.ts'
import { addressFormatter } from '../lib/views/devices.ts'
import { type FunctionReset, resetGuide, resetText } from '../lib/views/resets.ts'

/** What `check-reset --json` prints. */
export interface CheckReset {
  schema: 'vfio-scripts/check-reset/1'
  /** Is the vendor-reset module loaded? */
  vendorReset: boolean
  /** Was the kernel log read? Without it, whether a reset failed already is not known. */
  log: boolean
  cards: (Omit<CardReset, 'functions'> & { functions: FunctionReset[] })[]
}

const script: Script = {
  name: 'check-reset',
  summary: `Says whether cards can be reset when a guest that owns them stops (default: all).\n${DEVICE_HELP}`,
  operands: 'DEVICE',
  options: [
    ...FILTER_OPTIONS,
    { name: 'format', kind: 'value', choices: ['table', 'guide'], help: 'how to print (default table)' },
    CAPTURE_OPTION,
  ],
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

function answerCheckReset({ arguments: given, machine, warn }: Context): Answer {
  const filter = filterFrom(given)
  const format = formatFrom(given)
  const facts = readPciFacts(machine, warn)
  const selected = filterDevices(facts.devices, filter, warn)
  const { log, logMissing } = readKernelLog(machine)
  const known = readResetFacts(machine.reader, facts.devices, selected, log)
  const cards = judgeResets(facts.devices, selected, known, filter.devices.length > 0).map((card) => ({
    ...card,
    functions: card.functions.map((device) => ({
      ...device,
      ...readPower(machine.reader, device),
      ...readMessageInterrupts(machine.reader, device),
    })),
  }))
  if (log === null && cards.length > 0) warn(`whether a reset failed already is not known: ${logMissing}`)
  const bad = cards.some(isBadReset)
  const { vendorReset } = known
  const json: CheckReset = { schema: 'vfio-scripts/check-reset/1', vendorReset, log: log !== null, cards }
  const style = addressFormatter(facts.devices, false)
  return {
    code: bad || cards.length === 0 ? 1 : 0,
    json,
    text: (look) =>
      format === 'guide' ? resetGuide(selectedGroups(facts.groups, selected), style) : resetText(look, cards, style),
  }
}

runCli(script, thisProcess(import.meta.url), answerCheckReset)
