import { Buffer } from 'node:buffer'
import { parseCommandLine } from './kernel.ts'
import { readCrypttab, readMounts } from './mounts.ts'
import type { Reader } from './reader.ts'
import { type Unreadable, unlessDenied } from './readings.ts'

/** The ways in which the root file system is unlocked at boot. */
export interface RootUnlock {
  /** Is it encrypted? `null`: the tree does not say (ZFS has encryption of its own). */
  encrypted: boolean | null
  /** The volumes that have to be opened for it: `/dev/nvme0n1p3 (cryptroot)`. */
  volumes: string[]
  /** The evidence that the TPM opens it. */
  tpm: string[]
  /** The evidence that it can be opened over the network. */
  remote: string[]
  /** The network devices that the initramfs is told to use (`ip=…:eth0:…`); empty: none by name. */
  interfaces: string[]
  /** The reasons why `encrypted` is not known. */
  unseen: Unreadable[]
  /** The other places that might say that the TPM opens it. */
  unseenTpm: Unreadable[]
}

/** The bytes of a LUKS2 header that hold its metadata in all but odd cases (16 KiB is the usual size of it). */
const HEADER = 64 * 1024

/**
 * Reads how the root is unlocked: from its mount down to the encrypted volumes below it, then crypttab, the command
 * line, the LUKS2 header's tokens (root only) and what the initramfs is made with.
 * Source: crypttab(5), systemd-cryptsetup-generator(8), clevis-luks-unlockers(7), the LUKS2 On-Disk Format
 * Specification.
 */
export function readRootUnlock(reader: Reader, files: Reader): RootUnlock {
  const unlock: RootUnlock = {
    encrypted: false,
    volumes: [],
    tpm: [],
    remote: [],
    interfaces: [],
    unseen: [],
    unseenTpm: [],
  }
  const hasTpm = (reader.list('/sys/class/tpm') ?? []).length > 0
  const notSeen = (unreadable: Unreadable): RootUnlock => ({
    ...unlock,
    encrypted: null,
    unseen: [unreadable],
    unseenTpm: hasTpm ? [unreadable] : [],
  })
  const mounts = readMounts(reader)
  const root = mounts?.filter((mount) => mount.point === '/').at(-1)
  if (root === undefined) {
    return notSeen({ what: 'the root file system (/proc/self/mountinfo)', root: false })
  }
  if (root.type === 'zfs') {
    unlock.unseen.push({ what: `whether ${root.source} is encrypted (zfs get encryption)`, root: false })
    unlock.encrypted = null
  } else {
    const name = reader.linkName(`/sys/dev/block/${root.number}`) ?? blockDeviceName(reader, root.source)
    if (name === undefined) {
      const what = `what the root file system (${root.type}, ${root.source}) is on`
      return notSeen({ what, root: false })
    }
    const crypts = cryptsBelow(reader, name, 0)
    if (crypts.length === 0) return unlock
    unlock.encrypted = true
    for (const crypt of crypts) readCryptVolume(reader, files, crypt, unlock)
  }
  unlock.tpm.push(...tpmArguments(reader))
  unlock.remote.push(...remoteAccess(files))
  unlock.interfaces = networkArguments(reader)
  return hasTpm ? unlock : { ...unlock, tpm: [], unseenTpm: [] }
}

/** Returns the name of a block device in sysfs, also where /dev cannot be seen: `/dev/mapper/cryptroot` → `dm-0`. */
function blockDeviceName(reader: Reader, source: string): string | undefined {
  const name = source.slice(source.lastIndexOf('/') + 1)
  if (reader.exists(`/sys/class/block/${name}`)) return name
  const mappers = (reader.list('/sys/class/block') ?? []).filter((each) => each.startsWith('dm-'))
  return mappers.find((each) => reader.text(`/sys/class/block/${each}/dm/name`) === name)
}

interface CryptVolume {
  /** The name of the opened volume: `cryptroot`. */
  name: string
  /** The devices that it was opened from: `nvme0n1p3`. */
  from: string[]
}

/** Finds the encrypted volumes at and below a block device, through LVM and RAID. */
function cryptsBelow(reader: Reader, name: string, depth: number): CryptVolume[] {
  const folder = `/sys/class/block/${name}`
  const slaves = depth > 16 ? [] : (reader.list(`${folder}/slaves`) ?? [])
  if (reader.text(`${folder}/dm/uuid`)?.startsWith('CRYPT-'))
    return [{ name: reader.text(`${folder}/dm/name`) ?? name, from: slaves }]
  const whole = reader.exists(`${folder}/partition`) ? wholeDisk(reader, name) : undefined
  return [...slaves, ...(whole === undefined ? [] : [whole])].flatMap((each) => cryptsBelow(reader, each, depth + 1))
}

/** Returns the disk of a partition. A partition of an array has no slaves; its disk has. */
function wholeDisk(reader: Reader, name: string): string | undefined {
  return reader.resolve(`/sys/class/block/${name}`)?.split('/').at(-2)
}

function readCryptVolume(reader: Reader, files: Reader, crypt: CryptVolume, unlock: RootUnlock): void {
  for (const entry of readCrypttab(files)) {
    const option = entry.target === crypt.name ? entry.options.find((each) => /^tpm2-device=./.test(each)) : undefined
    if (option !== undefined) unlock.tpm.push(`${entry.table}: ${crypt.name} has ${option}`)
  }
  for (const name of crypt.from) {
    const node = `/dev/${name.replaceAll('!', '/')}`
    unlock.volumes.push(`${node} (${crypt.name})`)
    const header = unlessDenied(reader, () => reader.bytes(node, HEADER), null)
    if (header === null || header === undefined) {
      unlock.unseenTpm.push({ what: `the LUKS header of ${node}`, root: header === null })
      continue
    }
    const tokens = luksTokens(header)
    for (const token of tokens.filter((each) => each.includes('tpm2')))
      unlock.tpm.push(`${node}: the LUKS header has a ${token} token`)
    for (const token of tokens.filter((each) => each.includes('tang')))
      unlock.remote.push(`${node}: the LUKS header has a ${token} token`)
  }
}

/** Returns the tokens of a LUKS2 header: `systemd-tpm2`, `systemd-fido2`, `clevis tang` …; LUKS1 has none. */
function luksTokens(header: Buffer): string[] {
  if (header.toString('latin1', 0, 6) !== 'LUKS\xba\xbe') return []
  const metadata = header.toString('latin1', 4096)
  const types = [...metadata.matchAll(/"type"\s*:\s*"(systemd-[\w-]+)"/g)].map(([, type = '']) => type)
  const sealed = [...metadata.matchAll(/"protected"\s*:\s*"([\w-]+)"/g)].flatMap(([, text = '']) => pinsOf(text, 0))
  return [...new Set([...types, ...sealed.map((pin) => `clevis ${pin}`)])]
}

/**
 * Returns the pins by which Clevis bound a secret, from the protected part of a JWE; `sss` holds other pins
 * (clevis-encrypt-sss(1)).
 */
function pinsOf(text: string, depth: number): string[] {
  if (depth > 4) return []
  const plain = Buffer.from(text, 'base64url').toString('latin1')
  const pins = [...plain.matchAll(/"pin"\s*:\s*"(\w+)"/g)].map(([, pin = '']) => pin)
  const inner = [...plain.matchAll(/"(eyJ[\w-]+)\./g)].flatMap(([, sealed = '']) => pinsOf(sealed, depth + 1))
  return [...pins.filter((pin) => pin !== 'sss'), ...inner]
}

function tpmArguments(reader: Reader): string[] {
  return parseCommandLine(reader.optionalText('/proc/cmdline') ?? '')
    .filter(({ name, value = '' }) =>
      /^(rd\.)?luks\.options$/.test(name) ? /\btpm2_?-?device=./.test(value) : name === 'snapd_recovery_mode',
    )
    .map(({ token }) => `/proc/cmdline: ${token}`)
}

/**
 * Returns the devices that `ip=` names: its sixth part (Documentation/admin-guide/nfs/nfsroot.rst), or the first of
 * dracut's short form.
 */
function networkArguments(reader: Reader): string[] {
  return parseCommandLine(reader.optionalText('/proc/cmdline') ?? '')
    .filter(({ name }) => name === 'ip')
    .flatMap(({ value = '' }) => {
      const parts = value.split(':')
      const device = parts.length >= 6 ? parts[5] : parts.length > 1 ? parts[0] : undefined
      return device ? [device] : []
    })
}

/** Finds what lets a person or a key server in before the root is open: files that the packages ask for. */
function remoteAccess(files: Reader): string[] {
  const keys = [
    '/etc/dropbear/initramfs/authorized_keys',
    '/etc/dropbear-initramfs/authorized_keys',
    '/etc/dropbear/root_key',
    '/etc/tinyssh/root_key',
  ]
  const modules = (files.list('/usr/lib/dracut/modules.d') ?? []).filter((name) => /sshd|crypt-ssh/.test(name))
  return [...keys.filter((path) => files.exists(path)), ...modules.map((name) => `/usr/lib/dracut/modules.d/${name}`)]
}
