// Images of an initramfs, made of bytes and read.
import { Buffer } from 'node:buffer'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { runFilter } from '../../lib/change/run.ts'
import { readBootImage } from '../../lib/host/boot-image.ts'
import type { Unpacker } from '../../lib/host/packings.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { type Archived, cpioOf, placed } from './cpio.ts'
import { newFolder } from './expect.ts'

export const conf = 'options vfio-pci ids=10de:1c03\n'
export const module = 'usr/lib/modules/6.12.1/kernel/drivers/vfio/pci/vfio-pci.ko.xz'

/** An initramfs of a merged /usr: folders, links, settings, a module. */
export const FILES: readonly Archived[] = [
  { name: '.' },
  { name: 'lib', link: 'usr/lib' },
  ...placed(module, Buffer.alloc(3000, 7)),
  ...placed('etc/modprobe.d/vfio.conf', conf),
  { name: 'usr/bin' },
  { name: 'usr/bin/init', content: '#!/bin/sh\n', mode: 0o100755 },
  { name: 'init', link: '/usr/bin/init' },
  { name: 'dev' },
  { name: 'dev/console', mode: 0o020600 },
]
export const MICROCODE = cpioOf(placed('kernel/x86/microcode/GenuineIntel.bin', Buffer.alloc(2048, 1)))
export const image = cpioOf(FILES)

/** Reads an image of these bytes. */
export const look = (bytes: Buffer, filter: Unpacker = runFilter): Promise<Reader | string> => {
  const folder = newFolder()
  writeFileSync(join(folder, 'image'), bytes)
  return readBootImage(openReader(folder), '/image', filter)
}

/** What is in an image of these bytes, which can be told. */
export async function seen(bytes: Buffer, filter?: Unpacker): Promise<Reader> {
  const found = await look(bytes, filter)
  if (typeof found === 'string') throw new Error(found)
  return found
}

/** Is all there that `FILES` has? */
export function expectFiles(found: Reader): void {
  expect(found.text('/etc/modprobe.d/vfio.conf')).toBe(conf.trim())
  expect(found.exists(`/${module}`)).toBe(true)
  expect(found.exists(`/${module.slice(4)}`)).toBe(true)
  expect(found.exists('/etc/modprobe.d/other.conf')).toBe(false)
}

/** Padded as archives are that follow one another. */
export function paddedTo4(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}
