import { Buffer } from 'node:buffer'
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { runFilter } from '../../lib/change/run.ts'
import { readBootImage } from '../../lib/host/boot-image.ts'
import type { Unpacker } from '../../lib/host/packings.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { expectFiles, FILES, image, look, MICROCODE, module, paddedTo4, seen } from '../support/boot-images.ts'
import { cpioOf, peOf, placed } from '../support/cpio.ts'
import { newFolder } from '../support/expect.ts'

describe('an initramfs is read', () => {
  it('from a plain archive', async () => {
    const found = await seen(image)
    expectFiles(found)
    expect(found.root).toBe('/image')
    expect(found.list('/')).toEqual(['dev', 'etc', 'init', 'lib', 'usr'])
    expect(found.list('/etc/modprobe.d')).toEqual(['vfio.conf'])
    expect(found.list('/init')).toBe(undefined)
    expect(found.access('/usr/bin/init')).toMatchObject({ mode: 0o100755, uid: 0 })
  })

  it.each<[string, Buffer]>([
    ['with checksums', cpioOf(FILES, { magic: '070702' })],
    ['packed with gzip', gzipSync(image)],
    ['behind microcode', Buffer.concat([MICROCODE, image])],
    ['behind microcode, packed', Buffer.concat([MICROCODE, gzipSync(image)])],
    ['behind padding, packed', Buffer.concat([MICROCODE, Buffer.alloc(5000), gzipSync(image), Buffer.alloc(4096)])],
    ['in two packed parts', Buffer.concat([gzipSync(cpioOf(FILES.slice(0, 9))), gzipSync(cpioOf(FILES.slice(9)))])],
    ['in one packed part with two archives', gzipSync(Buffer.concat([MICROCODE, Buffer.alloc(64), image]))],
    ['a packed one, then a plain one', Buffer.concat([paddedTo4(gzipSync(MICROCODE)), image])],
    [
      'a unified image',
      peOf([
        ['.osrel', Buffer.from('ID=x')],
        ['.cmdline', Buffer.from('quiet')],
        ['.initrd', image],
      ]),
    ],
    [
      'a unified image with two',
      peOf([
        ['.initrd', MICROCODE],
        ['.linux', Buffer.alloc(70000, 9)],
        ['.initrd', gzipSync(image)],
      ]),
    ],
  ])('%s', async (_, bytes) => expectFiles(await seen(bytes)))

  it('with modules apart: a plain archive of them, then a packed one', async () => {
    const early = cpioOf([{ name: 'lib', link: 'usr/lib' }, ...placed(module, Buffer.alloc(3000, 7))])
    const rest = gzipSync(cpioOf(FILES.filter(({ name }) => name !== module)))
    expectFiles(await seen(Buffer.concat([MICROCODE, early, rest])))
  })

  it('of the profile of a unified image that is booted by itself', async () => {
    const other = cpioOf([{ name: 'etc' }, { name: 'etc/other', content: 'x' }])
    const profile = ['.profile', Buffer.from('ID=x')] as const
    const found = await seen(peOf([['.initrd', image], profile, profile, ['.initrd', other]]))
    expectFiles(found)
    expect(found.exists('/etc/other')).toBe(false)
  })
})

describe('it is told in a line', () => {
  it.each<[string, Buffer, RegExp]>([
    ['that nothing is there', Buffer.alloc(0), /^\/image is empty$/],
    ['that only padding is there', Buffer.alloc(70000), /^\/image is empty$/],
    [
      'that it is no archive',
      Buffer.from('usr/lib/modules/x/vfio-pci.ko\n'),
      /^\/image is no initramfs that is known here$/,
    ],
    ['that what was packed is none', gzipSync(Buffer.alloc(5000, 5)), /^\/image is no initramfs that is known here$/],
    ['that a kernel has none', peOf([['.linux', image]]), /^\/image has no initramfs in it$/],
    [
      'that something else follows',
      Buffer.concat([image, Buffer.from('else')]),
      /^\/image holds, from byte \d+ on, what is no/,
    ],
    ['that it was cut', image.subarray(0, 700), /^\/image is damaged: it ends too early$/],
    ['that it has no end', cpioOf(FILES, { cut: true }), /^\/image is damaged: it ends too early$/],
    ['that it was cut while packed', gzipSync(image).subarray(0, 200), /^\/image is damaged: it ends too early$/],
    ['that its checksum was cut', gzipSync(image).subarray(0, -4), /^\/image is damaged: it ends too early$/],
    [
      'that packed data is wrong',
      Buffer.from(gzipSync(image)).fill(0xff, 40, 60),
      /^\/image is damaged: it cannot be unpacked/,
    ],
    ['that a section was cut', peOf([['.initrd', image]]).subarray(0, 2000), /^\/image is damaged: it ends too early$/],
    [
      'that a header is wrong',
      Buffer.concat([cpioOf(FILES, { cut: true }), Buffer.alloc(110, '0')]),
      /^\/image is damaged: a header/,
    ],
  ])('%s', async (_, bytes, line) => {
    const found = await look(bytes)
    expect(found).toMatch(line)
    expect(String(found)).not.toContain('\n')
  })

  it('that it is absent, no file, or may not be read', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'closed'), image)
    chmodSync(join(folder, 'closed'), 0)
    symlinkSync('/absent', join(folder, 'link'))
    const told = (path: string, reader = openReader(folder)): Promise<Reader | string> =>
      readBootImage(reader, path, runFilter)
    expect(await told('/absent')).toBe('/absent is not there')
    expect(await told('/link')).toBe('/link is not there')
    expect(await told('/')).toBe('/ is no file')
    if (process.getuid?.() !== 0) {
      expect(await told('/closed')).toBe('/closed: cannot be read (EACCES)')
      expect(await told('/closed', openReader(folder, { lenient: true }))).toMatch(
        /^\/closed may not be read: try as root$/,
      )
    }
  })

  it('which program is missing', async () => {
    const absent: Unpacker = (argv, input) => runFilter([`no-${argv[0]}`], input)
    const found = await look(Buffer.from('BZh91AY&SY'), absent)
    expect(found).toBe('/image cannot be unpacked: it takes the program no-bzip2, which is not installed')
  })
})
