import type { CommandChange } from '../change/plan.ts'
import { type Setting, tokensKeptBy } from '../change/settings.ts'
import { VF_SCRIPT } from '../host/wanted-functions.ts'
import type { Distro, Host } from './system.ts'

export const INIT_FOLDER = '/etc/init.d'
export const DEFAULT_RUNLEVEL = '/etc/runlevels/default'
const DEVICES = '/sys/bus/pci/devices'

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
        return files.exists(`${INIT_FOLDER}/libvirtd`)
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
  /** The kernel, which has the virtual functions of a physical one: `0000:3b:00.0=4=vfio-pci`. */
  'virtual-functions': {
    has({ machine }, token) {
      const [address, number] = token.split('=')
      return machine.optionalText(`${DEVICES}/${address}/sriov_numvfs`)?.trim() === number
    },
    // By the time of the removal the program is gone.
    commands: (tokens, { running }) =>
      (running ? tokens : []).map((token) => {
        const [address = ''] = token.split('=')
        const number = `${DEVICES}/${address}/sriov_numvfs`
        return { add: [VF_SCRIPT, address], remove: ['sh', '-c', '[ ! -e "$1" ] || echo 0 >"$1"', 'sh', number] }
      }),
    reason: { add: 'makes them now', remove: 'frees them now' },
  },
} satisfies Record<string, ExternalTool>

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
