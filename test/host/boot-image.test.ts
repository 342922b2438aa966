import { Buffer } from 'node:buffer'
import { spawnSync } from 'node:child_process'
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { runFilter } from '../../lib/change/run.ts'
import { readBootImage } from '../../lib/host/boot-image.ts'
import type { Filter } from '../../lib/host/packings.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { type Archived, cpioOf, peOf, placed } from '../support/cpio.ts'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'

const conf = 'options vfio-pci ids=10de:1c03\n'
const module = 'usr/lib/modules/6.12.1/kernel/drivers/vfio/pci/vfio-pci.ko.xz'

/** An initramfs of a merged /usr: folders, links, settings, a module. */
const FILES: readonly Archived[] = [
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
const MICROCODE = cpioOf(placed('kernel/x86/microcode/GenuineIntel.bin', Buffer.alloc(2048, 1)))
const image = cpioOf(FILES)

const look = (bytes: Buffer, filter: Filter = runFilter): Promise<Reader | string> => {
  const folder = newFolder()
  writeFileSync(join(folder, 'image'), bytes)
  return readBootImage(openReader(folder), '/image', filter)
}

async function seen(bytes: Buffer, filter?: Filter): Promise<Reader> {
  const found = await look(bytes, filter)
  if (typeof found === 'string') throw new Error(found)
  return found
}

/** Is all there that `FILES` has? */
function expectFiles(found: Reader): void {
  expect(found.text('/etc/modprobe.d/vfio.conf')).toBe(conf.trim())
  expect(found.exists(`/${module}`)).toBe(true)
  expect(found.exists(`/${module.slice(4)}`)).toBe(true)
  expect(found.exists('/etc/modprobe.d/other.conf')).toBe(false)
}

const packedBy = (argv: readonly [string, ...string[]], bytes: Buffer): Buffer =>
  spawnSync(argv[0], argv.slice(1), { input: bytes, maxBuffer: 1 << 30 }).stdout

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

  it('with links as a chroot follows them', async () => {
    const found = await seen(
      cpioOf([
        ...FILES,
        { name: 'up', link: '../../../etc/modprobe.d' },
        { name: 'loop', link: 'loop' },
        { name: 'nowhere', link: '/absent' },
      ]),
    )
    expect(found.resolve('/lib/modules')).toBe('/usr/lib/modules')
    expect(found.resolve('/usr/../init')).toBe('/usr/bin/init')
    expect(found.text('/init')).toBe('#!/bin/sh')
    expect(found.link('/init')).toBe('/usr/bin/init')
    expect(found.linkName('/init')).toBe('init')
    expect(found.text('/up/vfio.conf')).toBe(conf.trim())
    for (const path of ['/loop', '/nowhere', '/etc/modprobe.d/vfio.conf/x']) expect(found.exists(path)).toBe(false)
  })

  it('with modules, firmware and what is long by name and size only', async () => {
    const found = await seen(
      cpioOf([
        ...FILES,
        { name: 'long', content: Buffer.alloc(65537, 1) },
        { name: 'short', content: Buffer.alloc(65536, 1) },
        { name: 'empty', content: '' },
      ]),
    )
    for (const [path, size] of [
      [`/${module}`, 3000],
      ['/long', 65537],
    ] as const) {
      expect(found.bytes(path)).toBe(undefined)
      expect([found.exists(path), found.size(path)]).toEqual([true, size])
    }
    expect(found.bytes('/short')?.length).toBe(65536)
    expect(found.bytes('/short', 10, 65530)?.length).toBe(6)
    expect(found.text('/empty')).toBe('')
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

  it('with the last of several files of one name', async () => {
    const later = cpioOf([
      { name: 'etc/modprobe.d/vfio.conf', content: 'later\n' },
      { name: './init', content: 'a file now\n' },
      { name: '/usr/bin', content: 'never: a folder that is not empty stays' },
    ])
    const found = await seen(Buffer.concat([image, gzipSync(later)]))
    expect(found.text('/etc/modprobe.d/vfio.conf')).toBe('later')
    expect(found.text('/init')).toBe('a file now')
    expect(found.exists('/usr/bin/init')).toBe(true)
  })

  it('with files through the links of earlier archives, and none where no folder is', async () => {
    const later = cpioOf([
      { name: 'lib/late', content: 'late' },
      { name: 'no/such/folder', content: 'x' },
    ])
    const found = await seen(Buffer.concat([image, later]))
    expect(found.text('/usr/lib/late')).toBe('late')
    expect(found.exists('/no/such/folder')).toBe(false)
  })

  it('with all names of a file, whichever of them has the content', async () => {
    const names = (...sizes: string[]): Archived[] =>
      sizes.map((content, index) => ({ name: `name${index}`, content, inode: 5 }))
    for (const files of [names('', '', 'told'), names('told', '', '')]) {
      const found = await seen(cpioOf(files))
      expect(['/name0', '/name1', '/name2'].map((path) => found.text(path))).toEqual(['told', 'told', 'told'])
    }
    // Another archive has other files, whatever the numbers are.
    const two = await seen(Buffer.concat([cpioOf(names('one')), cpioOf([{ name: 'else', content: 'two', inode: 5 }])]))
    expect([two.text('/name0'), two.text('/else')]).toEqual(['one', 'two'])
  })

  it('of the profile of a unified image that is booted by itself', async () => {
    const other = cpioOf([{ name: 'etc' }, { name: 'etc/other', content: 'x' }])
    const profile = ['.profile', Buffer.from('ID=x')] as const
    const found = await seen(peOf([['.initrd', image], profile, profile, ['.initrd', other]]))
    expectFiles(found)
    expect(found.exists('/etc/other')).toBe(false)
  })
})

function paddedTo4(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}

const PROGRAMS: [string, ...string[]][] = [
  ['zstd', '-q', '-19', '-T0'],
  ['xz', '--check=crc32', '--lzma2=dict=1MiB'],
  ['lz4', '-l', '-9'],
  ['lzma', '-9'],
  ['bzip2'],
  ['lzop', '-9'],
]

for (const argv of PROGRAMS) {
  const [program] = argv
  needs(program).describe(`packed with ${program}`, () => {
    it('an image is read, behind microcode and with padding', async () => {
      const packed = packedBy(
        argv,
        Buffer.concat([image, cpioOf([{ name: 'large', content: Buffer.alloc(9 << 20, 3) }])]),
      )
      expectFiles(await seen(packed))
      expectFiles(await seen(Buffer.concat([MICROCODE, packed])))
    })

    it('one that is cut is damaged', async () => {
      const packed = packedBy(argv, image)
      expect(await look(packed.subarray(0, packed.length >> 1))).toMatch(/^\/image is damaged: [^\n]+$/)
    })

    if (['zstd', 'xz', 'lz4'].includes(program))
      it('other archives may follow', async () => {
        const later = cpioOf([{ name: 'later', content: 'x' }])
        const parts = [
          packedBy(argv, image),
          packedBy(argv, later),
          later,
          gzipSync(cpioOf([{ name: 'last', content: 'y' }])),
        ]
        const found = await seen(Buffer.concat(parts.map((one) => Buffer.concat([paddedTo4(one), Buffer.alloc(512)]))))
        expectFiles(found)
        expect([found.text('/later'), found.text('/last')]).toEqual(['x', 'y'])
      })
  })
}

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
    const absent: Filter = (argv, input) => runFilter([`no-${argv[0]}`], input)
    const found = await look(Buffer.from('BZh91AY&SY'), absent)
    expect(found).toBe('/image cannot be unpacked: it takes the program no-bzip2, which is not installed')
  })
})

describe('a hostile image', () => {
  const small = (fields: Record<number, string>, name = 'x'): Buffer => cpioOf([{ name, content: '', fields }])

  it.each<[string, Buffer]>([
    ['a file of 4 GiB', small({ 6: 'ffffffff' })],
    ['a name of 1 GiB', small({ 11: '40000000' })],
    ['a link of 4 GiB', small({ 1: '0000a1ff', 6: 'fffffff0' })],
    ['a negative length', small({ 6: '-0000001' })],
    ['a length that is no number', small({ 11: ' 0000002' })],
  ])('%s', async (_, bytes) => {
    const before = process.memoryUsage().rss
    expect(await look(bytes)).toMatch(/^\/image is damaged: [^\n]+$/)
    expect(process.memoryUsage().rss - before).toBeLessThan(200 << 20)
  })

  it('names that lead out lead nowhere else', async () => {
    const found = await seen(
      cpioOf([
        { name: 'etc' },
        { name: '../../etc/up', content: 'up' },
        { name: '/etc/absolute', content: 'absolute' },
        { name: 'etc/..', content: 'x' },
        { name: 'etc/.', content: 'x' },
        { name: '/', content: 'x' },
        { name: '__proto__' },
        { name: '__proto__/x', content: 'own' },
        { name: `etc/${'n'.repeat(5000)}`, content: 'x' },
        { name: 'n', content: '', fields: { 11: '00000000' } },
        { name: 'last', content: 'last' },
      ]),
    )
    expect(found.list('/')).toEqual(['__proto__', 'etc', 'last'])
    expect(found.list('/etc')).toEqual(['absolute', 'up'])
    expect(found.text('/__proto__/x')).toBe('own')
  })

  it('that never ends takes no memory, and ends', async () => {
    const many = (count: number, content: Buffer): Buffer =>
      Buffer.concat(Array.from({ length: count }, (_, at) => cpioOf([{ name: `f${at}`, content }], { cut: true })))
    for (const piece of [many(20, Buffer.alloc(65536)), many(3000, Buffer.alloc(0))]) {
      const endless: Filter = async function* () {
        for (;;) yield piece
      }
      const before = process.memoryUsage().rss
      expect(await look(Buffer.from('BZh9 and what follows'), endless)).toBe(
        '/image is damaged: it holds more files than any initramfs has',
      )
      expect(process.memoryUsage().rss - before).toBeLessThan(400 << 20)
    }
  })
})
