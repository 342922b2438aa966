import { UserError } from '../core/error.ts'
import type { Arguments, Option } from '../terminal/options.ts'
import { printable } from '../terminal/text.ts'

// Rows of gen-domain's table of options, and functions that read their values; for a value of the wrong form, all of
// them throw a UserError with code `usage`.

export const listOption = (name: string, value: string, help: string): Option => ({ name, kind: 'list', value, help })
export const valueOption = (name: string, placeholder: string, help: string): Option => ({
  name,
  kind: 'value',
  value: placeholder,
  help,
})
export const flagOption = (name: string, help: string): Option => ({ name, kind: 'flag', help })
export const choiceOption = (name: string, choices: readonly string[], help: string): Option => ({
  name,
  kind: 'value',
  choices,
  help,
})

/** Returns the error with code `usage` for a value of the wrong form. */
export function requestUsageError(message: string): UserError {
  return new UserError('usage', message)
}

/** Returns the option's value as `read` understands it; `undefined` where it is not given. */
export function readValue<T>(given: Arguments, name: string, read: (text: string) => T): T | undefined {
  const text = given.value(name)
  return text === undefined ? undefined : read(text)
}

/** Returns the option's value, which must have this shape; `like` tells the person how to write one. */
export function shapedValue(given: Arguments, name: string, shape: RegExp, like: string): string | undefined {
  return readValue(given, name, (text) => {
    if (!shape.test(text)) throw requestUsageError(`--${name} ${text}: write ${like}`)
    return text
  })
}

/** Returns the values of a repeated option, each of which may be given once. */
export function distinctValues(given: Arguments, name: string): string[] {
  const values = given.list(name)
  const twice = values.find((value, index) => values.indexOf(value) !== index)
  if (twice !== undefined) throw requestUsageError(`--${name} ${twice}: given twice`)
  return [...values]
}

/** Returns a whole path, since libvirt and another --root know no present folder; control characters are refused. */
export function checkPath(name: string, text: string): string {
  if (printable(text) !== text)
    throw requestUsageError(`--${name} ${text}: control characters are refused in names of files`)
  if (!text.startsWith('/')) throw requestUsageError(`--${name} ${text}: write the whole path, from /`)
  return text
}

/** Returns the path that is the option's value. */
export function pathValue(given: Arguments, name: string): string | undefined {
  return readValue(given, name, (text) => checkPath(name, text))
}

/** Returns the paths of a repeated option, each of which may be given once. */
export function pathValues(given: Arguments, name: string): string[] {
  for (const text of given.list(name)) checkPath(name, text)
  return distinctValues(given, name)
}
