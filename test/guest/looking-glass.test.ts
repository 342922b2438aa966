import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { domainHost, genDomain } from '../support/domain.ts'
import { addFiles } from '../support/fake/host.ts'
import { Libvirt, lacking } from '../support/libvirt.ts'
import { currentRoot } from '../support/libvirt-root.ts'
import { type Machine, scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, type Ran, runProgram } from '../support/run.ts'

// The memory of Looking Glass: its size, who may open it, and that the guest has it; by real programs, without a GPU.

const guest = ['--name', 'frames', '--guest', 'linux', '--headless', '--network', 'none', '--memory', '1G']
const frames = [...guest, '--looking-glass', '2560x1440']
const MIB = 1024 * 1024
const withKvmfr = (options = 'options kvmfr static_size_mb=64\n'): string =>
  domainHost((machine: Machine) => addFiles(machine, { '/dev/kvmfr0': '', '/etc/modprobe.d/kvmfr.conf': options }))

const argumentsIn = (xml: string): string[] =>
  [...xml.matchAll(/<qemu:arg value='([^']*)'/g)].map(([, value = '']) => value.replaceAll('&quot;', '"'))

describe('kvmfr', () => {
  it('goes to QEMU as libvirt writes its own devices: as JSON from 7.9 on', () => {
    const host = withKvmfr()
    const recent = argumentsIn(genDomain(host, ...frames).stdout)
    expect(recent.slice(0, 2)).toEqual(['-device', '{"driver":"ivshmem-plain","id":"shmem0","memdev":"looking-glass"}'])
    expect(JSON.parse(recent[3] ?? '')).toMatchObject({ 'mem-path': '/dev/kvmfr0', size: 64 * MIB, share: true })
    const old = argumentsIn(genDomain(host, ...frames, '--libvirt', '7.8.0').stdout)
    expect(old[1]).toBe('ivshmem-plain,id=shmem0,memdev=looking-glass')
  })

  it('of another size than the guest asks for is said', () => {
    const ran = genDomain(withKvmfr('# mine\noptions kvmfr static_size_mb=32\n'), ...frames)
    expect(ran.stderr).toContain('/etc/modprobe.d/kvmfr.conf:2: kvmfr has 32 MiB, and the guest asks for 64')
    expect(genDomain(withKvmfr(), ...frames).stderr).not.toContain('kvmfr has')
  })
})

const ROOTS = { 'this system': '/', 'a current one': currentRoot() }
describe.each(Object.entries(ROOTS))('started by libvirt of %s', (_, root) => {
  const why = lacking(root)
  needs(why, why === '').describe('runs', () => {
    let libvirt: Libvirt
    let own: string[]
    beforeAll(async () => {
      libvirt = await Libvirt.open(root)
      own = ['--libvirt', libvirt.version(), '--qemu', libvirt.qemu()]
    }, 120_000)
    afterAll(() => libvirt.close())

    it.each([
      ['shared memory', () => domainHost(), '/dev/shm/looking-glass'],
      ['kvmfr', () => withKvmfr(), '/dev/kvmfr0'],
    ] as const)(
      '%s: what its user writes is what the guest has, and the file keeps its owner',
      async (_, host, path) => {
        const { stdout } = genDomain(host(), ...frames, ...own)
        libvirt.write(path, '')
        const file = libvirt.path(path)
        // As tmpfiles makes it; kvmfr's has its size.
        if (path === '/dev/kvmfr0') runProgram('truncate', ['-s', '64M', file])
        chownSync(file, 1001, 105)
        chmodSync(file, 0o660)
        let seen = ''
        const { error } = await libvirt.start(stdout, (monitor) => {
          const client = `printf LGMP | dd of='${file}' conv=notrunc status=none`
          expect(runProgram('sh', ['-c', client])).toMatchObject({ code: 0, stderr: '' })
          const [, place = ''] = /1af4:1110[\s\S]*?BAR2: .*? memory at (0x\w+)/.exec(monitor('info pci')) ?? []
          expect(place).not.toBe('')
          seen = monitor(`xp /1wx ${place}`)
        })
        expect(error).toBe('')
        // LGMP, of a little-endian machine.
        expect(seen).toContain('0x504d474c')
        const { uid, gid, mode, size } = statSync(file)
        expect([uid, gid, mode & 0o777, size]).toEqual([1001, 105, 0o660, 64 * MIB])
      },
      300_000,
    )
  })
})

needs('QEMU, setpriv and root', has('qemu-system-x86_64') && has('setpriv') && process.getuid?.() === 0).it(
  'QEMU opens the file of its user by their group, the user writes into it, and nobody else does',
  () => {
    const folder = join(scratchDir('frames'), 'shm')
    mkdirSync(folder)
    chmodSync(folder, 0o1777)
    for (const above of [join(folder, '..'), join(folder, '../..')]) runProgram('chmod', ['755', above])
    const as = (uid: number, gid: number, command: string): Ran =>
      runProgram('setpriv', [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', 'sh', '-c', command])
    const made = (mode: number): string => {
      const file = join(folder, `frames-${mode}`)
      writeFileSync(file, '')
      chownSync(file, 1001, 105)
      chmodSync(file, mode)
      return file
    }
    const start = (file: string): Ran => {
      const object = `memory-backend-file,id=frames,share=on,size=64M,mem-path=${file}`
      const words = `-machine none -nodefaults -display none -monitor stdio -object ${object}`
      return as(64055, 105, `echo quit | qemu-system-x86_64 ${words}`)
    }
    const file = made(0o660)
    expect(start(file)).toMatchObject({ code: 0 })
    expect(statSync(file).size).toBe(64 * MIB)
    const client = `printf LGMP | dd of='${file}' conv=notrunc status=none`
    expect(as(1001, 1001, client).code).toBe(0)
    expect(as(1002, 1002, client).code).not.toBe(0)
    expect(start(made(0o600)).stderr).toMatch(/Permission denied/)
  },
)
