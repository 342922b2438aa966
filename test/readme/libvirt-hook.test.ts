import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, type Ran, runProgram } from '../support/run.ts'

const HOOK = `${PROJECT}examples/libvirt-hook`

/** Calls the hook as libvirt does; `code` is what systemctl exits with. */
function call(args: string[], code = 0): Ran & { did: string } {
  const folder = newFolder()
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'systemctl'), `#!/bin/sh\necho "$@" >>'${folder}/did'\nexit ${code}\n`)
  chmodSync(join(bin, 'systemctl'), 0o755)
  const ran = runProgram(HOOK, args, { env: { PATH: `${bin}:${process.env.PATH}` } })
  const did = join(folder, 'did')
  return { ...ran, did: existsSync(did) ? readFileSync(did, 'utf8') : '' }
}

describe('the libvirt hook', () => {
  // libvirt.org/hooks.html: what a hook prints would be the guest's new XML.
  it.each([
    ['win11', 'prepare', 'begin', 'start smbd.service\n'],
    ['win11', 'start', 'begin', ''],
    ['win11', 'started', 'begin', ''],
    ['win11', 'stopped', 'end', ''],
    ['win11', 'release', 'end', 'stop smbd.service\n'],
    ['win11', 'migrate', 'begin', ''],
    ['win11', 'reconnect', 'begin', ''],
    ['other', 'prepare', 'begin', ''],
    ['other', 'release', 'end', ''],
  ])('%s %s %s', (guest, operation, part, did) => {
    expect(call([guest, operation, part, '-'])).toEqual({ code: 0, stdout: '', stderr: '', did })
  })

  it('keeps the guest from starting without its service', () => {
    expect(call(['win11', 'prepare', 'begin', '-'], 5).code).toBe(5)
  })

  needs('shellcheck').it('shellcheck finds nothing', () => {
    expect(runProgram('shellcheck', [HOOK])).toEqual({ code: 0, stdout: '', stderr: '' })
  })
})
