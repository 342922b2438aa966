import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { PROJECT, runScript } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

interface Help {
  options: { name: string; choices?: string[] }[]
}

/** The guards that a script's --force offers. */
function offered(script: string): string[] {
  const { options } = JSON.parse(runScript(script, ['--help', '--json']).stdout) as Help
  return options.find(({ name }) => name === 'force')?.choices ?? []
}

const SCRIPTS: [script: string, args: string[], own: string[], never: string][] = [
  ['bind-vfio', ['01:00'], ['boot-vga', 'interface-up', 'shared-id', 'uki-secure-boot'], 'half-group'],
  ['override-same-id-gpu', ['01:00'], ['boot-vga', 'uki-secure-boot'], 'bridge'],
  ['tune-host', ['--hugepages', '2G'], ['host-memory', 'no-confirm', 'acs-override'], 'driver-needed'],
  ['gen-domain', ['--name', 'one', '--guest', 'linux'], ['boot-vga', 'reset', 'disk-in-use'], 'unlock-device'],
]

describe.each(SCRIPTS)('--force of %s', (script, args, own, never) => {
  const forced = (name: string) => {
    const ran = runScript(script, ['--root', systemDir({ machine: 'twin-gpus' }), ...args, '--force', name])
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    return ran.stderr
  }

  it('refuses a name that is none, and says what there is', () => {
    expect(forced('nonsense')).toBe(
      `${script}: --force nonsense: no such guard; there is ${offered(script).join(', ')}\n`,
    )
  })

  it('says of a guard that nothing overrides that nothing does', () => {
    expect(forced(never)).toMatch(new RegExp(`^${script}: --force ${never}: nothing overrides this guard; .*${own[0]}`))
  })

  it('offers its own guards in --help and to each shell', () => {
    expect(offered(script)).toEqual(expect.arrayContaining(own))
    expect(offered(script)).not.toContain(never)
    const words = offered(script).join(' ')
    expect(runScript(script, ['--help']).stdout).toContain(offered(script).join(', '))
    for (const [shell, file] of [
      ['bash', script],
      ['zsh', `_${script}`],
      ['fish', `${script}.fish`],
    ])
      expect(readFileSync(`${PROJECT}completions/${shell}/${file}`, 'utf8')).toContain(words)
  })
})

it('--force takes no guard of another script', () => {
  expect(offered('bind-vfio')).not.toContain('host-memory')
  const ran = runScript('bind-vfio', ['01:00', '--force', 'host-memory', '--json'])
  expect(ran.code).toBe(2)
  expect(JSON.parse(ran.stdout).error.code).toBe('usage')
})
