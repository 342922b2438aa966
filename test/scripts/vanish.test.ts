// A device that goes away, before or while it is read: named, and all others are listed.
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { addressesIn, brokenMachine, GPU, GPU_PATH, listing, whole } from '../support/broken.ts'
import { expectError, SCRIPTS, type ScriptName } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, type Ran, runProgram, runScript, works } from '../support/run.ts'

const withoutGpu = (script: ScriptName): string[] => addressesIn(whole[script]).filter((address) => address !== GPU)

describe.each(SCRIPTS)('%s: a device that vanishes', (script) => {
  const gone = `${script}: ${GPU} vanished while it was being read\n`
  const expectGone = (ran: Ran): void => {
    expect(ran.stderr).toBe(gone)
    expect(addressesIn(ran)).toEqual(withoutGpu(script))
    expect(ran.code).toBe(whole[script].code)
  }

  it('its link dangles', () => {
    expectGone(
      listing(
        script,
        brokenMachine((dir) => rmSync(dir + GPU_PATH, { recursive: true })),
      ),
    )
  })

  it('its folder is empty', () => {
    expectGone(
      listing(
        script,
        brokenMachine((dir) => {
          rmSync(dir + GPU_PATH, { recursive: true })
          mkdirSync(dir + GPU_PATH)
        }),
      ),
    )
  })

  it('a folder with something else in it is an error', () => {
    const dir = brokenMachine((at) => {
      rmSync(at + GPU_PATH, { recursive: true })
      mkdirSync(at + GPU_PATH)
      writeFileSync(`${at}${GPU_PATH}/power_state`, 'D0\n')
    })
    expectError(runScript(script, ['--machine', dir]), GPU_PATH)
  })

  const traces = works('strace', '-o', '/dev/null', 'true')
  needs('strace, where it may trace', traces).describe('while it is being read', () => {
    const dir = brokenMachine(() => {})
    // strace would go through the links, to files of others.
    const files = readdirSync(dir + GPU_PATH, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `/${entry.name}`)
    /** Lets system calls on some of the device's files fail in the running script. */
    const failing = (calls: string, errno: string, names: string[]): Ran => {
      const inject = ['-f', '-qqq', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${calls}:error=${errno}`]
      const paths = names.flatMap((name) => ['-P', dir + GPU_PATH + name])
      const command = [process.execPath, `${PROJECT}scripts/${script}.mjs`, '--machine', dir, '--json']
      return runProgram('strace', [...inject, ...paths, ...command])
    }

    it.each(['ENOENT', 'ENODEV'])('before its first file is opened (%s)', (errno) => {
      expectGone(failing('openat', errno, ['', ...files]))
    })

    it('before its first file is read', () => {
      expectGone(failing('read,pread64,getdents64', 'ENODEV', ['', ...files]))
    })

    it('its uevent alone: the other attributes tell the same', () => {
      expect(failing('openat', 'ENOENT', ['/uevent'])).toEqual(whole[script])
      expect(failing('read,pread64', 'ENODEV', ['/uevent'])).toEqual(whole[script])
    })

    it('after its uevent was read: it is listed, the rest unknown', () => {
      const ran = failing(
        '%file',
        'ENOENT',
        files.filter((name) => name !== '/uevent'),
      )
      expect(addressesIn(ran)).toEqual(addressesIn(whole[script]))
      expect(ran.stdout).toContain('"id": "1cb6"')
    })

    it('any other error is an error', () => {
      const ran = failing('read,pread64', 'EIO', ['/uevent'])
      expect(ran).toMatchObject({ code: 2, stderr: `${script}: ${GPU_PATH}/uevent: cannot be read (EIO)\n` })
      expect(JSON.parse(ran.stdout).error.code).toBe('unreadable')
    })
  })
})
