import { globPattern } from '../core/glob.ts'
import { configLines, configLineText, type DropIn, dropInFolders, readDropIns } from './drop-ins.ts'
import type { Reader } from './reader.ts'
import type { FunctionNames } from './sriov.ts'

const etc = (name: string): string[] => dropInFolders(name)
const NETWORK_MANAGER = ['/etc', '/run', '/usr/lib'].map((top) => `${top}/NetworkManager/system-connections`)

const LINK = /^SR-IOVVirtualFunctions\s*=/i

/** Where files make virtual functions, and the text by which they do. */
const MAKERS: readonly { folders: readonly string[]; files: RegExp; text: RegExp }[] = [
  { folders: etc('systemd/network'), files: /\.link$/, text: LINK },
  { folders: NETWORK_MANAGER, files: /./, text: /^total-vfs\s*=/ },
  { folders: ['/etc/netplan', '/run/netplan', '/usr/lib/netplan'], files: /\.yaml$/, text: /virtual-function-count:/ },
  { folders: etc('modprobe.d'), files: /\.conf$/, text: /^options\s.*\bmax_vfs=/ },
  ...[
    { folders: ['/etc'], files: /^(rc\.local|sysfs\.conf)$/ },
    { folders: ['/etc/rc.d'], files: /^rc\.local$/ },
    { folders: etc('udev/rules.d'), files: /\.rules$/ },
    { folders: etc('tmpfiles.d'), files: /\.conf$/ },
    { folders: ['/etc/systemd/system'], files: /\.service$/ },
    { folders: ['/etc/network'], files: /^interfaces$/ },
    { folders: ['/etc/network/interfaces.d', '/etc/sysfs.d', '/etc/libvirt/hooks', '/etc/local.d'], files: /./ },
  ].map((one) => ({ ...one, text: /sriov_numvfs|sriov-manage/ })),
]

/**
 * Returns the lines of files by which other programs make virtual functions of this card at boot, as `PATH:LINE: TEXT`:
 * systemd-udevd, NetworkManager, netplan, drivers' options, scripts. A file that names other cards only is left out.
 * Source: systemd.link(5), nm-settings-nmcli(5) (sriov), netplan(5), Documentation/networking of the drivers (max_vfs).
 */
export function vfMakers(files: Reader, names: FunctionNames): string[] {
  const found = [...MAKERS, ...linkDropIns(files, names)].flatMap(({ folders, files: pattern, text }) =>
    readDropIns(files, folders, pattern)
      .filter((file) => !namesOthers(file, names))
      .flatMap((file) =>
        configLines([file])
          .filter((line) => text.test(line.text.trim()) && !isOtherOption(line.text, names))
          .map(configLineText),
      ),
  )
  return [...new Set(found)]
}

/** Is this an option of another card's driver, or of Intel's GPU drivers, for which max_vfs is the most that may be made? */
function isOtherOption(line: string, { driver }: FunctionNames): boolean {
  const module = /^\s*options\s+(\S+)/.exec(line)?.[1]?.replaceAll('-', '_')
  return module !== undefined && (/^(i915|xe)$/.test(module) || (driver !== null && module !== driver))
}

/** The drop-ins of .link files, but for those of tune-host and of files that name other cards only. */
function linkDropIns(files: Reader, card: FunctionNames): typeof MAKERS {
  const names = etc('systemd/network').flatMap((folder) => files.list(folder) ?? [])
  const own = new Set(names.filter((name) => name.endsWith('.link.d') && !name.startsWith('00-vfio-scripts-')))
  const others = readDropIns(files, etc('systemd/network'), /\.link$/).filter((file) => namesOthers(file, card))
  for (const { path } of others) own.delete(`${path.slice(path.lastIndexOf('/') + 1)}.d`)
  return [...own].map((name) => ({ folders: etc(`systemd/network/${name}`), files: /\.conf$/, text: LINK }))
}

function namesOthers({ text }: DropIn, { address, interfaces, macs }: FunctionNames): boolean {
  const matches = (pattern: RegExp): string[] =>
    [...text.matchAll(pattern)].flatMap(([, value = '']) => value.trim().split(/[\s;]+/))
  const addresses = matches(/\b([0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])/gi)
  const cards = [
    ...matches(/^(?:OriginalName|interface-name)\s*=\s*(.+)$/gm),
    ...matches(/\/sys\/class\/net\/([\w.-]+)\/device/g),
  ]
  const hardware = matches(/^(?:Permanent)?(?:MACAddress|mac-address)\s*=\s*(.+)$/gim)
  if (/^\[SR-IOV\]/m.test(text)) hardware.splice(0, hardware.length, ...matchSection(text))
  if (addresses.length + cards.length + hardware.length === 0) return false
  return !(
    addresses.some((one) => one.toLowerCase() === address) ||
    cards.some((one) => interfaces.some((name) => globPattern(one).test(name))) ||
    hardware.some((one) => macs.includes(one.toLowerCase()))
  )
}

/** Returns the MAC addresses of a .link file's [Match]: those of [SR-IOV] are of virtual functions. */
function matchSection(text: string): string[] {
  const section = /^\[Match\]$([\s\S]*?)(?=^\[|$(?![\s\S]))/m.exec(text)?.[1] ?? ''
  return [...section.matchAll(/^(?:Permanent)?MACAddress\s*=\s*(.+)$/gim)].flatMap(([, value = '']) =>
    value.split(/\s+/),
  )
}
