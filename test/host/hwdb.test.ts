import { Buffer } from 'node:buffer'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openHwdb } from '../../lib/host/hwdb.ts'
import { readHwdbProperty } from '../../lib/host/hwdb-binary.ts'
import { loadMachine, scratchDir, writeMachine } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, runProgram, runScript } from '../support/run.ts'

interface Node {
  prefix: string
  children: [char: string, node: Node][]
  values: [key: string, value: string][]
}

/** A hwdb.bin of these nodes, written as systemd-hwdb(8) does; `value`: the size of a value's entry in its version. */
function made(root: Node, value: 16 | 32 = 32): Buffer {
  const parts: Buffer[] = []
  let size = 80
  const append = (bytes: Buffer): number => {
    parts.push(bytes)
    size += bytes.length
    return size - bytes.length
  }
  const number = (one: number): Buffer => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt(one))
    return bytes
  }
  const text = (one: string): number => append(Buffer.from(`${one}\0`))
  const write = ({ prefix, children, values }: Node): number => {
    const below = children.map(([char, node]) => [char, write(node)] as const)
    const count = Buffer.alloc(8)
    count.writeUInt8(children.length)
    const all = [number(text(prefix)), count, number(values.length)]
    for (const [char, at] of below) all.push(Buffer.from(char.padEnd(8, '\0')), number(at))
    for (const [key, name] of values) all.push(number(text(key)), number(text(name)), Buffer.alloc(value - 16))
    return append(Buffer.concat(all))
  }
  const at = write(root)
  const header = [Buffer.from('KSLPHHRH'), ...[252, size, 80, 24, 16, value, at, 0, 0].map(number)]
  return Buffer.concat([...header, ...parts])
}

const tree: Node = {
  prefix: 'pci:v0000',
  values: [],
  children: [
    ['8', { prefix: '086*', children: [], values: [[' ID_VENDOR_FROM_DATABASE', 'Intel']] }],
    [
      '1',
      {
        prefix: '0DE',
        values: [],
        children: [
          [
            '*',
            {
              prefix: '',
              children: [],
              values: [
                [' OTHER', 'x'],
                [' ID_VENDOR_FROM_DATABASE', 'NVIDIA Corporation'],
              ],
            },
          ],
          ['d', { prefix: '00001CB6*', children: [], values: [[' ID_MODEL_FROM_DATABASE', 'GP107GL [Quadro P620]']] }],
        ],
      },
    ],
  ],
}
const vendor = ['pci:v000010DE*', 'ID_VENDOR_FROM_DATABASE'] as const

describe('hwdb.bin', () => {
  it.each([16, 32] as const)('is read, with entries of %s bytes', (value) => {
    const data = made(tree, value)
    expect(readHwdbProperty(data, ...vendor)).toBe('NVIDIA Corporation')
    expect(readHwdbProperty(data, 'pci:v000010DEd00001CB6*', 'ID_MODEL_FROM_DATABASE')).toBe('GP107GL [Quadro P620]')
    for (const match of ['pci:v000010DE', 'pci:v000010DEd00001CB7*', 'pci:v000010DE**', 'usb:v1*', ''])
      expect(readHwdbProperty(data, match, 'ID_MODEL_FROM_DATABASE')).toBeNull()
  })

  it('that is damaged names nothing', () => {
    const data = made(tree)
    for (let length = 0; length < data.length; length += 7)
      expect([null, 'NVIDIA Corporation']).toContain(readHwdbProperty(data.subarray(0, length), ...vendor))
    const bad = Buffer.from(data)
    bad.fill(0xff, 80)
    expect(readHwdbProperty(bad, ...vendor)).toBeNull()
    expect(readHwdbProperty(Buffer.from('x'.repeat(100)), ...vendor)).toBeNull()
  })

  it('names devices where a system has no other database', () => {
    const dir = scratchDir('hwdb')
    writeMachine(loadMachine('i9-14900k-vmd'), dir)
    rmSync(`${dir}/usr/share`, { recursive: true })
    mkdirSync(`${dir}/etc/udev`, { recursive: true })
    writeFileSync(`${dir}/etc/udev/hwdb.bin`, made(tree))
    const ran = runScript('list-iommu', ['--machine', dir, '--root', dir, '--format', 'lspci', '02:00.0'])
    expect(ran.stdout).toContain('[0300]: NVIDIA Corporation GP107GL [Quadro P620] [10de:1cb6]')
  })
})

it('in sources a number sign starts a comment, as udev and lspci have it', () => {
  const source = Buffer.from('\npci:v00001002d00004347*\n ID_MODEL_FROM_DATABASE=SB200 OHCI USB Controller #1\n')
  const database = openHwdb((path) => (path.endsWith('20-pci-vendor-model.hwdb') ? source : undefined))
  expect(database?.find('device', '1002', '4347')).toBe('SB200 OHCI USB Controller')
})

const SOURCES = ['/usr/lib/udev/hwdb.d', '/lib/udev/hwdb.d'].find((path) => existsSync(`${path}/20-pci-classes.hwdb`))

needs("systemd-hwdb and udev's sources", has('systemd-hwdb') && SOURCES !== undefined).it(
  'every name is what systemd-hwdb makes of the sources',
  () => {
    const dir = scratchDir('hwdb')
    const folder = join(dir, 'etc/udev/hwdb.d')
    mkdirSync(folder, { recursive: true })
    const names = ['20-pci-vendor-model.hwdb', '20-pci-classes.hwdb']
    for (const name of names) copyFileSync(`${SOURCES}/${name}`, join(folder, name))
    expect(runProgram('systemd-hwdb', ['update', `--root=${dir}`]).code).toBe(0)
    const data = readFileSync(join(dir, 'etc/udev/hwdb.bin'))
    const sources = names.map((name) => readFileSync(join(folder, name), 'latin1')).join('\n')
    const lines = [...sources.matchAll(/^(pci:\S+)\n ([A-Z_]+)=(.*)$/gm)]
    expect(lines.length).toBeGreaterThan(10_000)
    const wrong = lines.filter(([, match = '', key = '', name = '']) => {
      const read = readHwdbProperty(data, match, key)
      return Buffer.from(read ?? '').toString('latin1') !== name.replace(/\s*#.*/, '')
    })
    expect(wrong).toEqual([])
  },
)
