import { UserError } from '../core/error.ts'
import { stableMac } from '../host/sriov.ts'
import type { Arguments } from '../terminal/options.ts'

// What a network card keeps for its virtual functions, as ip-link(8) says it.

interface WordOption {
  option: string
  /** The word of `ip link set dev CARD vf N WORD VALUE`. */
  word: string
  valid(value: string): boolean
  what: string
}

const SWITCH = { valid: (value: string): boolean => value === 'on' || value === 'off', what: 'on or off' }

const WORD_OPTIONS: readonly WordOption[] = [
  { option: 'vf-mac', word: 'mac', valid: isUnicastMac, what: 'a MAC address of one card (52:54:00:12:34:56)' },
  {
    option: 'vf-vlan',
    word: 'vlan',
    valid: (value) => /^[1-9]\d{0,3}$/.test(value) && Number(value) <= 4094,
    what: 'the number of a VLAN (1 to 4094)',
  },
  { option: 'vf-trust', word: 'trust', ...SWITCH },
  { option: 'vf-spoof-check', word: 'spoofchk', ...SWITCH },
]

function isUnicastMac(value: string): boolean {
  const first = Number.parseInt(value.slice(0, 2), 16)
  return /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(value) && (first & 1) === 0 && !/^[0:]+$/.test(value)
}

/**
 * Returns what the card is told of its virtual functions, as `0:mac=52:54:00:12:34:56`. Throws a UserError, code
 * `usage`, for a number that none of them has, a bad value, and one that is given twice.
 */
export function givenWords(given: Arguments, count: number): string[] {
  const words = WORD_OPTIONS.flatMap(({ option, word, valid, what }) =>
    given.list(option).map((text) => {
      const [, index = '', value = ''] = /^(\d{1,5})=(.*)$/.exec(text) ?? []
      if (index === '' || !valid(value))
        throw new UserError('usage', `--${option} ${text}: write N=VALUE, with ${what}`)
      if (Number(index) >= count)
        throw new UserError('usage', `--${option} ${text}: there is no function ${index}; they are 0 to ${count - 1}`)
      return { key: `${Number(index)}:${word}`, value: value.toLowerCase(), option }
    }),
  )
  for (const [at, { key, option }] of words.entries())
    if (words.findIndex((one) => one.key === key) < at)
      throw new UserError('usage', `--${option}: function ${key.split(':')[0]} is given twice`)
  const macs = words.filter(({ key }) => key.endsWith(':mac')).map(({ value }) => value)
  const double = macs.find((mac, at) => macs.indexOf(mac) < at)
  if (double !== undefined) throw new UserError('usage', `--vf-mac: ${double} is given to two functions`)
  return words.map(({ key, value }) => `${key}=${value}`)
}

/** Returns an address that stays for each function that was given none, as words. */
export function stableMacs(mac: string, count: number, words: readonly string[]): string[] {
  return Array.from({ length: count }, (_, index) => index)
    .filter((index) => !words.some((word) => word.startsWith(`${index}:mac=`)))
    .map((index) => `${index}:mac=${stableMac(mac, index)}`)
}
