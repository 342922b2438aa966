import { VERSION } from '../lib/core/version.ts'
import { write } from '../lib/terminal/output.ts'
import { printable } from '../lib/terminal/text.ts'

/** A command of the file that holds all of them: what it is for, and its entry, which runs when it is imported. */
export interface BundledCommand {
  summary: string
  start: () => Promise<unknown>
}

/**
 * Runs the command that the first argument names, or the name of a link to this file (`/usr/local/bin/bind-vfio`). The
 * command then finds its own arguments where it always does.
 */
export async function runOneOf(commands: Readonly<Record<string, BundledCommand>>): Promise<void> {
  const own = 'vfio-scripts'
  const called = process.argv[1]?.replace(/^.*\/|\.mjs$/g, '') ?? own
  const named = Object.hasOwn(commands, called) ? called : process.argv[2]
  const command = named !== undefined && Object.hasOwn(commands, named) ? commands[named] : undefined
  if (command !== undefined) {
    if (named !== called) process.argv.splice(2, 1)
    await command.start()
  } else if (named === '--version') write(1, `${own} ${VERSION}\n`)
  else if (named === '--help' || named === '-h') write(1, helpOfAll(commands))
  else {
    const names = Object.keys(commands).join(', ')
    write(
      2,
      `${own}: ${named === undefined ? 'no command given' : `${printable(named)}: no such command`}; there is ${names}\n`,
    )
    process.exitCode = 2
  }
}

function helpOfAll(commands: Readonly<Record<string, BundledCommand>>): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length))
  const rows = Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}\n`)
  return `Usage: vfio-scripts COMMAND [OPTION]…\n\nCommands, each with its own --help:\n${rows.join('')}`
}
