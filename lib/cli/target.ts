import { wayFor } from '../plan/command.ts'
import { JOURNAL } from '../plan/entry.ts'
import type { Target } from '../plan/rollback.ts'
import { look, write } from './output.ts'
import { changeJson, changesText } from './plan.ts'
import type { Context } from './run.ts'
import { printable } from './text.ts'

/** Where a script applies its plan, how commands run there, and how the person hears of it. */
export function targetFor({ machine, arguments: given, warn }: Context, journal = JOURNAL): Target {
  const { root } = machine.files
  const verbose = given.flag('verbose')
  return {
    root,
    journal,
    way: given.flag('no-commands') ? 'print' : wayFor(machine.files),
    say: warn,
    show: (changes) => write(2, changesText(look(given.flag('no-color'), 2), changes.map(changeJson))),
    watch: (title) => watch(printable(title)),
    ...(verbose ? { hear: (text: string) => write(2, text) } : {}),
    signal: interrupted(),
  }
}

/** Says what runs; on a terminal, for how long it has. */
function watch(title: string): () => void {
  if (!look(true, 2).columns) {
    write(2, `> ${title}\n`)
    return () => {}
  }
  const began = Date.now()
  const show = (): void => write(2, `\r> ${title}  ${Math.round((Date.now() - began) / 1000)} s`)
  show()
  const timer = setInterval(show, 1000)
  return () => {
    clearInterval(timer)
    show()
    write(2, '\n')
  }
}

let stop: AbortSignal | undefined

/** Ctrl-C and SIGTERM take everything back; a lost terminal (SIGHUP) does not stop what was begun. */
function interrupted(): AbortSignal {
  if (stop === undefined) {
    const controller = new AbortController()
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => controller.abort())
    process.on('SIGHUP', () => {})
    stop = controller.signal
  }
  return stop
}
