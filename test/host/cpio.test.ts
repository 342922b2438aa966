import { Buffer } from 'node:buffer'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { Unpacker } from '../../lib/host/packings.ts'
import { conf, FILES, image, look, module, seen } from '../support/boot-images.ts'
import { type Archived, cpioOf } from '../support/cpio.ts'

describe('the files of an initramfs are read', () => {
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
      const endless: Unpacker = async function* () {
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
