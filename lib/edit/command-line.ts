import { parseCommandLine } from '../host/kernel.ts'
import { findArgumentRange, findInsertion, hasArgument } from './kernel-arguments.ts'
import type { ConfiguredArgument } from './shell-variables.ts'

// Kernel command lines in files: /etc/kernel/cmdline, /etc/cmdline.d, entries of boot loaders. Texts are one character
// a byte.

/**
 * The layout of a file with a command line. `file`: all lines but those that start with `#` are one command line.
 * `options`: a boot entry of the Boot Loader Specification, whose `options` lines are one command line.
 * Source: kernel-install(8); mkinitcpio(8), --cmdline;
 * https://uapi-group.org/specifications/specs/boot_loader_specification/; line_get_key_value() in systemd's boot.c.
 */
export type CommandLineLayout = 'file' | 'options'

/** Returns the command line in a text: as long as the text, and blank where the text holds something else. */
export function commandLineIn(text: string, layout: CommandLineLayout): string {
  return text.replace(/[^\n]+/g, (row) => {
    const blank = ' '.repeat(row.length)
    if (layout === 'file') return row.startsWith('#') ? blank : row
    const [, head = '', value = ''] = /^([ \t]*options[ \t]+)(.*?)[ \t\r]*$/.exec(row) ?? []
    const inner = /^".*"$/.test(value) ? ` ${value.slice(1, -1)}` : value
    return (head.replace(/./g, ' ') + inner).padEnd(row.length)
  })
}

/** Returns the arguments of a text, each with its line. */
export function argumentsInFile(path: string, text: string, layout: CommandLineLayout): ConfiguredArgument[] {
  const line = commandLineIn(text, layout)
  let from = 0
  return parseCommandLine(line).map((argument) => {
    const at = line.indexOf(argument.token, from)
    from = at + argument.token.length
    const number = text.slice(0, at).split('\n').length
    return { ...argument, file: path, line: number, variable: '', sure: true }
  })
}

/** Does the command line have this argument? */
export function isInCommandLine(text: string, layout: CommandLineLayout, token: string): boolean {
  return hasArgument(commandLineIn(text, layout), token)
}

/**
 * Returns the text with the argument in its list, or behind the others; in a `file` behind those of the first line, for
 * some tools read only that (proxmox-boot-tool). Where there is no command line yet, a line is added.
 */
export function addToCommandLine(text: string, layout: CommandLineLayout, token: string): string {
  const line = commandLineIn(text, layout).trimEnd()
  if (line === '') {
    const row = layout === 'file' ? token : `options ${token}`
    return text === '' || text.endsWith('\n') ? `${text}${row}\n` : `${text}\n${row}`
  }
  const place = findInsertion(line, token)
  if (place === undefined) return text
  const first = /^\s*[^\n]*[^\s]/.exec(line)?.[0].length ?? line.length
  const at = layout === 'file' && place.at === line.length ? first : place.at
  return text.slice(0, at) + place.text + text.slice(at)
}

/** Returns the text without the argument. After `addToCommandLine` it is the old text, byte for byte. */
export function cutFromCommandLine(text: string, layout: CommandLineLayout, token: string): string {
  const range = findArgumentRange(commandLineIn(text, layout), token)
  if (range === undefined) return text
  // A quote around the whole line stays.
  const { from, to } = text[range.from] === '"' ? { from: range.from + 1, to: range.to } : range
  const row = text.lastIndexOf('\n', from - 1) + 1
  if (layout === 'file' || text.slice(row, from) !== 'options' || !/^(\n|$)/.test(text.slice(to)))
    return text.slice(0, from) + text.slice(to)
  // A line that held nothing else was added by `addToCommandLine`.
  return to < text.length ? text.slice(0, row) + text.slice(to + 1) : text.slice(0, Math.max(0, row - 1))
}
