import { UserError } from './error.ts'

const UNITS = { K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const

/** Returns the bytes of a size such as `16G`, `16GiB` or `1.5G`. Throws a UserError with code `usage`. */
export function parseSize(option: string, text: string): number {
  const [, digits, unit = ''] = /^(\d{1,7}(?:\.\d{1,3})?)\s?([KMGT])(?:i?B)?$/i.exec(text) ?? []
  const bytes = Number(digits) * UNITS[(unit.toUpperCase() || 'K') as keyof typeof UNITS]
  if (digits === undefined || bytes === 0 || !Number.isInteger(bytes / 1024))
    throw new UserError('usage', `--${option} ${text}: write a size with its unit: 16G, 512M`)
  return bytes
}

/** Returns a number of bytes as text: `16 GiB`, `1.5 GiB`, `512 MiB`. */
export function sizeText(bytes: number): string {
  const [unit, factor] = bytes >= UNITS.G ? ['GiB', UNITS.G] : ['MiB', UNITS.M]
  return `${Math.round((bytes / (factor as number)) * 10) / 10} ${unit}`
}
