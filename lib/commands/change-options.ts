import { LATER } from '../change/owed.ts'
import type { CheckName } from '../core/finding.ts'
import type { Adapters } from '../system/system.ts'
import { type Arguments, type Option, usageError } from '../terminal/options.ts'
import { forceOption } from './force.ts'

/** The options of whatever changes a system, also where it is none of the boot's business. */
export const CHANGE_OPTIONS = {
  apply: { name: 'apply', kind: 'flag', help: 'do it; without this the plan is shown and nothing is written' },
  output: { name: 'output', kind: 'value', value: 'FILE', help: 'on NixOS: the module to write, which you import' },
  noCommands: { name: 'no-commands', kind: 'flag', help: 'with --apply: write the files and print the commands' },
} satisfies Record<string, Option>

/** Returns the options of every script that changes a system, in the order of --help, with its `own` between them. */
export function changeOptions(
  adapters: Adapters,
  own: {
    status: string
    undo: string
    /** The options that follow --undo. */
    modes?: readonly Option[]
    /** The guards by which the script refuses. */
    guards: readonly CheckName[]
    /** The options that follow --force. */
    settings?: readonly Option[]
    /** The help of --output, where it is more than the module of NixOS. */
    output?: string
    /** The options that follow --output. */
    module?: readonly Option[]
  },
): Option[] {
  const names = (some: readonly { name: string }[]): string[] => some.map(({ name }) => name)
  return [
    CHANGE_OPTIONS.apply,
    { name: 'status', kind: 'flag', help: own.status },
    { name: 'undo', kind: 'flag', help: own.undo },
    ...(own.modes ?? []),
    forceOption(own.guards),
    ...(own.settings ?? []),
    {
      name: 'confirm-within',
      kind: 'value',
      value: 'TIME',
      help: 'with --apply: take it back unless --confirm follows in time (10m), after the reboot where one is needed',
    },
    { name: 'confirm', kind: 'flag', help: 'keep what was applied with --confirm-within' },
    {
      name: 'bootloader',
      kind: 'value',
      choices: names(adapters.bootloaders),
      help: 'the boot loader, where it is not found out',
    },
    {
      name: 'initramfs',
      kind: 'value',
      choices: names(adapters.initramfs),
      help: 'the initramfs generator, where it is not found out',
    },
    own.output === undefined ? CHANGE_OPTIONS.output : { ...CHANGE_OPTIONS.output, help: own.output },
    ...(own.module ?? []),
    CHANGE_OPTIONS.noCommands,
    {
      name: LATER,
      kind: 'flag',
      help: 'leave images and boot entries to the next run, of this script or another, which makes them once',
    },
  ]
}

/** Returns the boot loader and initramfs generator that the person named, where the evidence does not settle them. */
export function requestedAdapters(given: Arguments): { bootloader: string | undefined; initramfs: string | undefined } {
  return { bootloader: given.value('bootloader'), initramfs: given.value('initramfs') }
}

/**
 * Returns the mode among `names` that is asked for, if any. Those in `looking` write nothing. Throws a UserError with
 * code `usage` for several, and for an --apply that cannot be meant.
 */
export function requestedMode(
  given: Arguments,
  names: readonly string[],
  looking: readonly string[],
): string | undefined {
  const modes = names.filter((name) => given.flag(name))
  if (modes.length > 1) throw usageError(`--${modes.join(' and --')}: choose one`)
  const [mode] = modes
  if (given.flag('apply') && mode !== undefined && looking.includes(mode))
    throw usageError(`--${mode} changes nothing: leave --apply out`)
  if (given.flag('apply') && given.value('machine') !== undefined && given.value('root') === undefined)
    throw usageError('--machine is a captured machine: --apply needs the --root that it belongs to')
  return mode
}
