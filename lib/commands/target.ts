import { JOURNAL } from '../change/journal-entry.ts'
import type { ApplyTarget } from '../change/rollback.ts'
import { decideCommandMode } from '../change/run.ts'
import type { Caller } from '../terminal/caller.ts'
import { printable } from '../terminal/text.ts'
import { changeJson, changesText } from '../views/changes.ts'
import type { Context } from './run-script.ts'

/** Returns the target of a script's plan: the root, how commands run there, and how the person hears of it. */
export function targetFor({ machine, arguments: given, warn, caller }: Context, journal = JOURNAL): ApplyTarget {
  const { root } = machine.files
  const verbose = given.flag('verbose')
  return {
    root,
    journal,
    commandMode: given.flag('no-commands') ? 'print' : decideCommandMode(machine.files),
    notify: warn,
    showChanges: (changes) =>
      caller.write(2, changesText(caller.terminalStyle(given.flag('no-color'), 2), changes.map(changeJson))),
    onStart: (title) => watch(caller, printable(title)),
    ...(verbose ? { onOutput: (text: string) => caller.write(2, text) } : {}),
    signal: caller.interrupted(),
  }
}

/** Tells the person what runs, and on a terminal for how many seconds; the function that it returns ends this. */
function watch({ terminalStyle, write }: Caller, title: string): () => void {
  if (!terminalStyle(true, 2).columns) {
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
