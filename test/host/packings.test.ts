import { Buffer } from 'node:buffer'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect, it } from 'vitest'
import { expectFiles, image, look, MICROCODE, paddedTo4, seen } from '../support/boot-images.ts'
import { cpioOf } from '../support/cpio.ts'
import { needs } from '../support/needs.ts'

const packedBy = (argv: readonly [string, ...string[]], bytes: Buffer): Buffer =>
  spawnSync(argv[0], argv.slice(1), { input: bytes, maxBuffer: 1 << 30 }).stdout

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

    if (program === 'xz')
      it('modules that are packed themselves, and so stay as they are, do not end it', async () => {
        const modules = Array.from({ length: 16 }, (_, at) => ({
          name: `module${at}.ko.xz`,
          content: Buffer.concat([randomBytes(at), packedBy(argv, randomBytes(200_000))]),
        }))
        expectFiles(await seen(packedBy(argv, Buffer.concat([cpioOf(modules), image]))))
      })
  })
}
