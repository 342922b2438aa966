import type { Reader } from '../host/reader.ts'
import type { WantedFunctions } from '../host/wanted-functions.ts'

// What is asked for, as other programs that make virtual functions say it.

/** The names of what a card keeps, of `ip link`, in systemd.link(5) and in nm-settings-keyfile(5). */
const NAMES: Readonly<Record<string, { link: string; profile: string }>> = {
  mac: { link: 'MACAddress', profile: 'mac' },
  vlan: { link: 'VLANId', profile: 'vlans' },
  trust: { link: 'Trust', profile: 'trust' },
  spoofchk: { link: 'MACSpoofCheck', profile: 'spoof-check' },
}

/** What each function is given, by its number: `[['mac', '52:54:00:12:34:56'], ['trust', 'on']]`. */
function wordsByFunction(words: readonly string[]): [index: number, values: [name: string, value: string][]][] {
  const found = words.map((word) => /^(\d+):(\w+)=(.*)$/.exec(word) ?? [])
  const numbers = [...new Set(found.map(([, index]) => Number(index)))].sort((one, other) => one - other)
  return numbers.map((number) => [
    number,
    found.flatMap(([, index, name = '', value = '']) =>
      Number(index) === number ? [[name, value] as [string, string]] : [],
    ),
  ])
}

/** Returns what systemd.link(5) says of so many virtual functions, line by line. */
export function linkLines({ count, words }: WantedFunctions): string[] {
  return [
    '[Link]',
    `SR-IOVVirtualFunctions=${count}`,
    ...wordsByFunction(words).flatMap(([index, values]) => [
      '[SR-IOV]',
      `VirtualFunction=${index}`,
      ...values.map(([name, value]) => `${NAMES[name]?.link}=${value}`),
    ]),
  ]
}

/** Returns the command by which a profile of NetworkManager makes them. Source: nm-settings-nmcli(5), sriov. */
export function profileCommand(profile: string, { count, driver, words }: WantedFunctions): string {
  const truth: Readonly<Record<string, string>> = { on: 'true', off: 'false' }
  const functions = wordsByFunction(words).map(([index, values]) =>
    [index, ...values.map(([name, value]) => `${NAMES[name]?.profile}=${truth[value] ?? value}`)].join(' '),
  )
  const probe = driver === 'host' ? 'true' : 'false'
  return `nmcli connection modify '${profile}' sriov.total-vfs ${count} sriov.autoprobe-drivers ${probe} sriov.vfs '${functions.join(', ')}'`
}

/** Returns how the program that a line of `vfMakers` shows is told of what is wanted; none where it is not known. */
export function makerSteps(files: Reader, maker: string, wanted: WantedFunctions): string[] {
  const [, path = ''] = /^(.+?):\d+: /.exec(maker) ?? []
  if (path.endsWith('.link')) return [`there, instead of what it says of SR-IOV: ${linkLines(wanted).join(' · ')}`]
  if (!path.includes('/NetworkManager/')) return []
  const text = files.optionalText(path) ?? ''
  const profile = /^uuid=([\w-]+)\s*$/m.exec(text)?.[1]
  return profile === undefined
    ? []
    : [`there: ${profileCommand(profile, wanted)}`, `then: nmcli connection up ${profile}`]
}
