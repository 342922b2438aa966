import type { CommandChange } from '../change/plan.ts'
import { type Setting, tokensKeptBy } from '../change/settings.ts'
import { startsLibvirtByOpenrc } from '../host/find-program.ts'
import { VF_SCRIPT, vfLinkFile } from '../host/wanted-functions.ts'
import type { Distro, Host } from './system.ts'

export const INIT_FOLDER = '/etc/init.d'
export const DEFAULT_RUNLEVEL = '/etc/runlevels/default'
const DEVICES = '/sys/bus/pci/devices'

/** Has systemd-udevd look for the .link file of a card, and apply it, as it does for a card that comes. */
const TELL_UDEV = `udevadm control --reload && for card in "\${1%/*}"/net/*; do
  [ ! -e "$card" ] || udevadm trigger --action=add --settle "$card" || exit
done`

/** Has systemd-udevd make so many virtual functions of a card, by its .link file. */
export const BY_UDEV = `read -r now <"$1" && { [ "$now" = 0 ] || echo 0 >"$1"; } && ${TELL_UDEV} && read -r now <"$1" || exit
[ "$now" = "$2" ] || { echo "there are $now virtual functions, not $2: journalctl -b -u systemd-udevd" >&2; exit 1; }`

const FREE = '[ ! -e "$1" ] || echo 0 >"$1"'

/** Frees them. Where the .link file is gone by then, udev notes which one is in force now. */
export const FREE_BY_UDEV = `${FREE} || exit
[ -e "$2" ] || { ${TELL_UDEV}; }`

/** A tool that keeps settings and is neither boot loader nor generator: how to ask it, and how to change them. */
interface ExternalTool {
  /** Does the tool have what a token names? Without this function its commands are run anyway. */
  has?(host: Host, token: string): boolean
  /** Returns the commands that add and remove tokens, all at once or one by one; none where none can be run. */
  commands(tokens: readonly string[], host: Host, distro: Distro | undefined): { add: string[]; remove: string[] }[]
  /** The reasons for the commands, for the plan. */
  reason: { add: string; remove: string }
}

const runlevel = (what: 'add' | 'del', name: string): string[] => ['rc-update', what, name, 'default']

/** The tools in the order of adding; removing goes in reverse: a service is stopped before its package is removed. */
const EXTERNAL_TOOLS = {
  packages: {
    commands(tokens, _, distro) {
      const { install, remove } = distro?.packages.unattended ?? {}
      return install === undefined || remove === undefined
        ? []
        : [{ add: [...install, ...tokens], remove: [...remove, ...tokens] }]
    },
    reason: { add: 'packages', remove: 'packages' },
  },
  services: {
    commands: (tokens, { files, running }) =>
      tokens.map((name) => {
        const now = running ? ['--now'] : []
        return startsLibvirtByOpenrc(files)
          ? { add: runlevel('add', name), remove: runlevel('del', name) }
          : { add: ['systemctl', 'enable', ...now, name], remove: ['systemctl', 'disable', ...now, name] }
      }),
    reason: { add: 'the service', remove: 'the service' },
  },
  /** The links to net.lo that netifrc has for each interface. */
  'init-links': {
    has: ({ files }, name) => files.exists(`${INIT_FOLDER}/${name}`),
    commands: (tokens) =>
      tokens.map((name) => {
        const link = `${INIT_FOLDER}/${name}`
        return { add: ['ln', '-s', 'net.lo', link], remove: ['rm', link] }
      }),
    reason: { add: 'a service of its own', remove: 'the service' },
  },
  /** OpenRC's default runlevel. */
  runlevel: {
    has: ({ files }, name) => files.exists(`${DEFAULT_RUNLEVEL}/${name}`),
    commands: (tokens) => tokens.map((name) => ({ add: runlevel('add', name), remove: runlevel('del', name) })),
    reason: { add: 'at boot', remove: 'no more at boot' },
  },
  /**
   * The kernel, which has the virtual functions of a physical one: `0000:3b:00.0=4=vfio-pci`, or
   * `0000:3b:00.0=4=host=ens1` where systemd-udevd makes them.
   */
  'virtual-functions': {
    has({ machine }, token) {
      const [address, number] = token.split('=')
      return machine.optionalText(`${DEVICES}/${address}/sriov_numvfs`)?.trim() === number
    },
    // By the time of the removal the files are gone.
    commands: (tokens, { running }) =>
      (running ? tokens : []).map((token) => {
        const [address = '', count = '', , card] = token.split('=')
        const number = `${DEVICES}/${address}/sriov_numvfs`
        const shell = (script: string, ...words: string[]): string[] => ['sh', '-c', script, 'sh', number, ...words]
        return card === undefined
          ? { add: [VF_SCRIPT, address], remove: shell(FREE) }
          : { add: shell(BY_UDEV, count), remove: shell(FREE_BY_UDEV, vfLinkFile(address)) }
      }),
    reason: { add: 'makes them now', remove: 'frees them now' },
  },
  /** The governors that CPUs have now: `performance:policy0=powersave,policy1=schedutil`, with those of before. */
  'governor-now': {
    has({ machine }, token) {
      const { wanted, before } = parseGovernors(token)
      return before.every(([policy]) => machine.optionalText(governorFile(policy))?.trim() === wanted)
    },
    commands: (tokens, { running }) =>
      (running ? tokens : []).map((token) => {
        const { wanted, before } = parseGovernors(token)
        const words = (governors: readonly (readonly [string, string])[]): string[] => [
          ...['sh', '-c', SET_GOVERNORS, 'sh'],
          ...governors.map(([policy, governor]) => `${governor}=${governorFile(policy)}`),
        ]
        return { add: words(before.map(([policy]) => [policy, wanted])), remove: words(before) }
      }),
    reason: { add: 'the CPUs have it now', remove: 'as the CPUs had it' },
  },
} satisfies Record<string, ExternalTool>

/** A policy that is gone (a CPU that was taken offline) has no governor. */
const SET_GOVERNORS = `for one; do [ ! -e "\${one#*=}" ] || echo "\${one%%=*}" >"\${one#*=}" || exit; done`

const governorFile = (policy: string): string => `/sys/devices/system/cpu/cpufreq/${policy}/scaling_governor`

/** Returns what a token of `governor-now` says: the governor that was asked for, and that of each policy before. */
export function parseGovernors(token: string): { wanted: string; before: [policy: string, governor: string][] } {
  const [wanted = '', rest = ''] = token.split(':')
  const before = rest.split(',').map((pair): [string, string] => {
    const [policy = '', governor = ''] = pair.split('=')
    return [policy, governor]
  })
  return { wanted, before }
}

export type ExternalToolName = keyof typeof EXTERNAL_TOOLS

/** Returns the commands that add `coming` settings and remove `leaving` ones, in the running system or a chroot. */
export function externalCommands(
  host: Host,
  distro: Distro | undefined,
  coming: readonly Setting[],
  leaving: readonly Setting[],
): CommandChange[] {
  const tools: [string, ExternalTool][] = Object.entries(EXTERNAL_TOOLS)
  const commandsFor = (settings: readonly Setting[], what: 'add' | 'remove', [name, tool]: [string, ExternalTool]) => {
    const known = (token: string): boolean => tool.has?.(host, token) ?? what === 'remove'
    const tokens = tokensKeptBy(settings, name).filter((token) => known(token) === (what === 'remove'))
    return (tokens.length === 0 ? [] : tool.commands(tokens, host, distro)).map((command): CommandChange => {
      const inverse = command[what === 'add' ? 'remove' : 'add']
      return { kind: 'command', argv: command[what], inverse, touches: [], reason: tool.reason[what] }
    })
  }
  return [
    ...tools.flatMap((tool) => commandsFor(coming, 'add', tool)),
    ...[...tools].reverse().flatMap((tool) => commandsFor(leaving, 'remove', tool)),
  ]
}
