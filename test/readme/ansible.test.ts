import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { card, etcOf, modprobe, system } from '../support/bind.ts'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, type Ran, runProgram } from '../support/run.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

/** Runs the play on this machine, with the system under `root` as the host's. */
function play(root: string, device: string, ...more: string[]): Ran {
  const folder = newFolder()
  const options = JSON.stringify(['--root', root, '--no-commands'])
  const vars = {
    ansible_connection: 'local',
    ansible_become: 'false',
    ansible_remote_tmp: join(folder, 'tmp'),
    vfio_folder: join(root, 'usr/local/sbin'),
    vfio_device: device,
    vfio_options: `'${options}'`,
  }
  const words = Object.entries(vars).map(([name, value]) => `${name}=${value}`)
  writeFileSync(join(folder, 'hosts.ini'), `[vfio]\nserver ${words.join(' ')}\n`)
  return runProgram('ansible-playbook', ['-i', 'hosts.ini', `${PROJECT}examples/ansible/bind-vfio.yml`, ...more], {
    cwd: folder,
    env: { ANSIBLE_HOME: folder, ANSIBLE_LOCAL_TEMP: join(folder, 'local'), ANSIBLE_NOCOLOR: '1' },
  })
}

const changed = ({ stdout }: Ran): number => Number(/^server .*\bchanged=(\d+)/m.exec(stdout)?.[1])

needs('ansible-playbook').describe('the Ansible play', () => {
  it('shows the plan with --check; changes the first time, and not the second', () => {
    const dir = systemDir(system)
    mkdirSync(join(dir, 'usr/local/sbin'), { recursive: true })
    const before = snapshotOf(dir)

    const check = play(dir, card, '--check')
    expect(check.code, check.stdout + check.stderr).toBe(0)
    expect(check.stdout).toContain(`+ /${modprobe}`)
    expect(check.stdout).toContain('+options vfio-pci ids=10de:1cb6,10de:0fb9')
    expect(changed(check)).toBe(1)
    expect(snapshotOf(dir)).toBe(before)

    const first = play(dir, card)
    expect(first.code, first.stdout + first.stderr).toBe(0)
    expect(first.stdout).toMatch(/Apply the plan\] \*+\nchanged: \[server\]/)
    expect(textOf(dir, modprobe)).toContain('options vfio-pci ids=10de:1cb6,10de:0fb9')
    const after = etcOf(dir)

    for (const again of [play(dir, card), play(dir, card, '--check')]) {
      expect(again.code, again.stdout + again.stderr).toBe(0)
      expect(changed(again)).toBe(0)
    }
    expect(etcOf(dir)).toBe(after)

    const installed = join(dir, 'usr/local/sbin/bind-vfio.mjs')
    expect(runProgram(installed, ['--root', dir, '--undo', '--apply', '--no-commands']).code).toBe(0)
    expect(textOf(dir, modprobe)).toBeNull()
  })

  it('of a host that refuses fails with the reason, and writes nothing', () => {
    const dir = systemDir({ machine: 'i9-14900k-vmd' })
    const before = snapshotOf(dir)
    const ran = play(dir, '00:01.0')
    expect(ran.code).toBe(2)
    expect(ran.stdout).toContain('refused (bridge)')
    expect(snapshotOf(dir)).toBe(before)
    expect(existsSync(join(dir, 'usr/local/sbin/bind-vfio.mjs'))).toBe(false)
  })
})
