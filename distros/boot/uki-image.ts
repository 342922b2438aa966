import { wordsIn } from '../../lib/edit/word-lists.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host } from '../../lib/system/system.ts'
import { findPath } from './boot-files.ts'
import { dracutConfig } from './unified-images.ts'

/** The sections of a unified image come before its kernel and initramfs. */
const HEAD = 4 << 20

/**
 * The command line inside a unified image; `undefined` where it cannot be told. Source: the PE format (a table of sections
 * behind the optional header), https://uapi-group.org/specifications/specs/unified_kernel_image/.
 */
export function readEmbeddedLine(files: Reader, path: string): string | undefined {
  const bytes = files.optionalBytes(path, HEAD)
  if (bytes === undefined || bytes.length < 0x40 || bytes.toString('latin1', 0, 2) !== 'MZ') return undefined
  const header = bytes.readUInt32LE(0x3c)
  if (header + 24 > bytes.length || bytes.toString('latin1', header, header + 4) !== 'PE\0\0') return undefined
  const table = header + 24 + bytes.readUInt16LE(header + 20)
  for (let index = 0; index < bytes.readUInt16LE(header + 6); index++) {
    const at = table + 40 * index
    if (at + 40 > bytes.length) return undefined
    if (bytes.toString('latin1', at, at + 8).replace(/\0+$/, '') !== '.cmdline') continue
    const from = bytes.readUInt32LE(at + 20)
    const to = from + Math.min(bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 16))
    return to > bytes.length ? undefined : bytes.toString('latin1', from, to).replace(/\0.*/s, '').trim()
  }
  return ''
}

/** Does the tool sign what it makes, with keys that are here? */
export function isSigned({ files }: Host, tool: 'mkinitcpio' | 'dracut' | 'kernel-install'): boolean {
  const config = dracutConfig(files).map(({ text }) => text)
  if (tool === 'dracut')
    return ['uefi_secureboot_key', 'uefi_secureboot_cert'].every((name) => wordsIn(config, name).length > 0)
  const settings = files.optionalBytes('/etc/kernel/uki.conf')?.toString('latin1') ?? ''
  const ukify = findProgram(files, 'ukify') ?? findPath(files, '/usr/lib/systemd/ukify')
  if (ukify !== undefined && /^[ \t]*SecureBootPrivateKey[ \t]*=[ \t]*\S/m.test(settings)) return true
  const folders =
    tool === 'mkinitcpio'
      ? ['/etc/initcpio/post', '/usr/lib/initcpio/post']
      : ['/etc/kernel/install.d', '/usr/lib/kernel/install.d']
  const hooks = folders.flatMap((folder) => (files.list(folder) ?? []).map((name) => `${folder}/${name}`))
  return hooks.some((path) => {
    const text = files.optionalBytes(path)?.toString('latin1') ?? ''
    return /\b(sbsign|pesign|systemd-sbsign)\b/.test(text) || (/\bsbctl\b/.test(text) && hasKeys(files))
  })
}

/** Whether sbctl has keys, only root can see. */
function hasKeys(files: Reader): boolean {
  const keys = ['/var/lib/sbctl/keys/db/db.key', '/usr/share/secureboot/keys/db/db.key']
  return keys.some((path) => findPath(files, path) !== undefined || files.denied.has(path))
}
