import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { system } from './bind.ts'
import { scratchDir } from './machine.ts'
import { MAC } from './networks.ts'
import { has, PROJECT, type Ran, runScript } from './run.ts'
import { systemDir } from './system.ts'

// A host's network, booted in namespaces of its own by the real programs, with a neighbour that hands out addresses.

export type Tool = 'ifupdown' | 'networkd' | 'netplan' | 'NetworkManager'

/** A host that is reached over enp5s0, as its kernel and udev show it. */
export function cardHost(files: Readonly<Record<string, string>>): string {
  const dir = systemDir({ ...system, files })
  const facts: Record<string, string> = {
    'sys/class/net/lo/address': '00:00:00:00:00:00\n',
    'sys/class/net/lo/type': '772\n',
    'sys/class/net/enp5s0/address': `${MAC}\n`,
    'sys/class/net/enp5s0/type': '1\n',
    'sys/class/net/enp5s0/ifindex': '2\n',
    'run/udev/data/n2': 'E:ID_NET_DRIVER=e1000e\nE:ID_NET_NAME_MAC=enx525400123456\nE:ID_NET_NAME_PATH=enp5s0\n',
  }
  for (const [path, text] of Object.entries(facts)) {
    if (existsSync(join(dir, path))) continue
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), text)
  }
  // Other profiles NetworkManager does not take.
  for (const path of Object.keys(files).filter((one) => one.includes('/system-connections/')))
    chmodSync(join(dir, path), 0o600)
  return dir
}

export const tune = (dir: string, ...args: string[]): Ran => runScript('tune-host', ['--root', dir, ...args])
export const write = ['--apply', '--no-commands']
export const bridge = ['--bridge', 'br0', '--port', 'enp5s0']

const PROGRAMS: Record<Tool, readonly string[]> = {
  ifupdown: ['ifup', 'dhclient'],
  networkd: ['networkctl'],
  netplan: ['netplan', 'networkctl'],
  NetworkManager: ['NetworkManager', 'dbus-daemon'],
}

/** What is missing for a boot in namespaces; empty: nothing. It is asked for with VFIO_REACH=1, for its time. */
export function missing(tool: Tool): string[] {
  const needed = ['unshare', 'nsenter', 'ip', 'udevadm', 'dnsmasq', 'ping', ...PROGRAMS[tool]]
  return [
    ...(process.env.VFIO_REACH ? [] : ['VFIO_REACH=1']),
    ...(process.getuid?.() === 0 ? [] : ['root']),
    ...needed.filter((program) => !has(program)),
    ...(existsSync('/lib/systemd/systemd-udevd') ? [] : ['systemd-udevd']),
  ]
}

/** A side of the cable, after a boot: a line a fact, with the interface that has the addresses called CARD. */
export interface Reached {
  device: string
  facts: string[]
}

const BOOT = `${PROJECT}test/support/reach/boot.sh`

/** Boots a host in which leases are kept from boot to boot. */
export function bootable(tool: Tool): { boot(dir: string): Promise<Reached> } {
  const state = scratchDir('reach')
  return {
    boot: (dir) =>
      new Promise((settle) => {
        execFile(BOOT, [tool, dir, state], { timeout: 100_000 }, (error, stdout, stderr) => {
          const [device = '', ...facts] = stdout.trim().split('\n')
          settle({ device: device.replace('device ', ''), facts: error === null ? facts : [...facts, stderr] })
        })
      }),
  }
}
