import { JOURNAL } from '../change/journal-entry.ts'
import type { Target } from '../change/rollback.ts'
import { wayFor } from '../change/run.ts'
import type { Caller } from '../terminal/caller.ts'
import { printable } from '../terminal/text.ts'
import { changeJson, changesText } from '../views/changes.ts'
import type { Context } from './run-script.ts'

/** Where a script applies its plan, how commands run there, and how the person hears of it. */
export function targetFor({ machine, arguments: given, warn, caller }: Context, journal = JOURNAL): Target {
  const { root } = machine.files
  const verbose = given.flag('verbose')
  return {
    root,
    journal,
    way: given.flag('no-commands') ? 'print' : wayFor(machine.files),
    say: warn,
    show: (changes) => caller.write(2, changesText(caller.look(given.flag('no-color'), 2), changes.map(changeJson))),
    watch: (title) => watch(caller, printable(title)),
    ...(verbose ? { hear: (text: string) => caller.write(2, text) } : {}),
    signal: caller.interrupted(),
  }
}

/** Says what runs; on a terminal, for how long it has. */
function watch({ look, write }: Caller, title: string): () => void {
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
