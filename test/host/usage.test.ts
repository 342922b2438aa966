import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildSync } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { inUseGuard } from '../../lib/checks/in-use.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { type DeviceUsage, readDeviceUsage } from '../../lib/host/usage.ts'
import { newFolder } from '../support/expect.ts'
import { addConnection, addInterface, addLinks, addNode, addProcess, addRoute, memory } from '../support/fake/host.ts'
import { idle, NIC } from '../support/judge.ts'
import { loadMachine, type Machine, writeMachine } from '../support/machine.ts'
import { PROJECT, runProgram } from '../support/run.ts'

/** readDeviceUsage in a process of its own, which may be another user's. */
function bundle(folder: string): string {
  const outfile = join(folder, 'use.mjs')
  const contents = `
    import { openMachine, readPciFacts } from './lib/host/machine.ts'
    import { readDeviceUsage } from './lib/host/usage.ts'
    const [dir, ...addresses] = process.argv.slice(2)
    const machine = openMachine({ root: dir })
    const chosen = readPciFacts(machine, () => {}).devices.filter((one) => addresses.includes(one.address))
    console.log(JSON.stringify({ use: readDeviceUsage(machine.reader, machine.reader, chosen), remarks: machine.remarks() }))`
  buildSync({
    stdin: { contents, resolveDir: PROJECT },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    logLevel: 'warning',
  })
  return outfile
}

function useOf(machine: Machine, addresses: string[], secret: string[]): { use: DeviceUsage; remarks: string[] } {
  const folder = newFolder()
  const dir = join(folder, 'machine')
  writeMachine(machine, dir)
  for (const path of secret) chmodSync(dir + path, 0o000)
  const uid = process.getuid?.() === 0 ? { uid: 65534 } : {}
  const ran = runProgram(process.execPath, [bundle(folder), dir, ...addresses], uid)
  expect(ran.stderr).toBe('')
  return JSON.parse(ran.stdout)
}

describe('without root', () => {
  it('other people’s open files are unknown, and said once', () => {
    const machine = loadMachine('twin-gpus')
    idle(machine)
    addNode(machine, '0000:05:00.0', '226:1', 'dri/card1', 'drm/card1')
    addProcess(machine, 812, 'Xorg', ['/dev/dri/card1'])
    addProcess(machine, 900, 'mine', ['/dev/dri/card1'])
    const secret = ['/proc/1/fd', '/proc/812/fd']
    const { use, remarks } = useOf(machine, ['0000:05:00.0'], secret)
    expect(use.open).toEqual({
      nodes: [{ node: '/dev/dri/card1', address: '0000:05:00.0', processes: [{ pid: 900, name: 'mine' }] }],
      unseen: [{ what: 'the open files of 2 processes', root: true }],
    })
    expect(remarks).toEqual([])
    expect(inUseGuard.run({ usage: use })).toMatchObject({
      state: 'problem',
      evidence: ['0000:05:00.0 → /dev/dri/card1 is open in mine[900]'],
    })
    expect(inUseGuard.run({ usage: { ...use, open: { ...use.open, nodes: [] } } })).toMatchObject({
      state: 'unknown',
      evidence: ['not seen: the open files of 2 processes'],
      next: 'run as root to see it',
    })
  })

  it('an SSH session is told by its port', () => {
    const machine = loadMachine('twin-gpus')
    idle(machine)
    addInterface(machine, 'eth0', { address: NIC })
    addRoute(machine, '0.0.0.0/0', 'eth0')
    for (const [inode, port] of [':0016', ':01BB'].entries())
      addConnection(machine, 'tcp', [`${memory('10.0.0.2')}${port}`, `${memory('10.1.2.3')}:D431`], inode + 1)
    addProcess(machine, 700, 'sshd', ['socket:[1]'])
    const { use } = useOf(machine, [NIC], ['/proc/700/fd'])
    expect(use.ssh).toEqual({
      sessions: [{ peer: '10.1.2.3', interfaces: ['eth0'], shownBy: 'port 22' }],
      unseen: [{ what: 'the open files of 1 process', root: true }],
    })
  })
})

describe('the reader', () => {
  it('gives the whole text of a link, which need not lead anywhere', () => {
    const machine = loadMachine('twin-gpus')
    addLinks(machine, { '/proc/7/fd/3': 'socket:[4711]', '/proc/7/fd/4': '/dev/dri/card0' })
    const dir = newFolder()
    writeMachine(machine, dir)
    const reader = openReader(dir)
    const fds = ['3', '4', '5'].map((fd) => reader.link(`/proc/7/fd/${fd}`))
    expect(fds).toEqual(['socket:[4711]', '/dev/dri/card0', undefined])
    expect(reader.link('/proc/cmdline')).toBeUndefined()
    writeFileSync(join(dir, 'file'), '')
    expect(reader.linkName('/proc/7/fd/4')).toBe('card0')
  })
})

describe('cost', () => {
  it('a card that carries nothing is asked for little', () => {
    const machine = loadMachine('twin-gpus')
    idle(machine)
    addProcess(machine, 812, 'Xorg', ['/dev/dri/card0'])
    const dir = newFolder()
    writeMachine(machine, dir)
    const reader = openReader(dir, { record: true })
    readDeviceUsage(reader, reader, [])
    const paths = [...reader.recording.keys()]
    expect(paths.filter((path) => /^\/proc\/\d|^\/proc\/(net|bus|swaps)|^\/run|^\/etc/.test(path))).toEqual([])
  })
})
