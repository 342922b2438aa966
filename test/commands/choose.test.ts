import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { needs } from '../support/needs.ts'
import { PROJECT } from '../support/run.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

/** bind-vfio --choose on a terminal of its own, with these lines typed. */
function choose(dir: string, typed: string): { code: number | null; screen: string } {
  const command = `${process.execPath} ${PROJECT}scripts/bind-vfio.mjs --root ${dir} --choose --no-commands --no-color`
  const { status, stdout } = spawnSync('script', ['-qec', command, '/dev/null'], {
    input: typed,
    encoding: 'utf8',
    timeout: 60_000,
  })
  return { code: status, screen: stdout.replaceAll('\r', '') }
}

needs('script').describe('--choose', () => {
  const numberOf = (screen: string, address: string): string =>
    new RegExp(`^ *(\\d+)  ${address} `, 'm').exec(screen)?.[1] ?? ''

  it('offers the cards, graphics first, shows the plan of one, and applies it after a yes', () => {
    const dir = systemDir({ machine: 'i9-14900k-vmd' })
    const before = snapshotOf(join(dir, 'etc'))
    const first = choose(dir, '\n')
    expect(first.screen).toMatch(
      /^ {2}1 {2}0000:01:00\.0 {2}NVIDIA TU117GLM?.* and 1 more, group 13, nvidia, boot VGA$/m,
    )
    expect(first.screen).toMatch(/^ {2}2 {2}0000:02:00\.0 {2}NVIDIA GP107GL/m)
    expect(first.screen).not.toMatch(/PCI bridge/)
    expect(first.code).toBe(2)
    const number = numberOf(first.screen, '0000:02:00.0')

    const no = choose(dir, `${number}\nn\n`)
    expect(no.screen).toContain('+options vfio-pci ids=10de:1cb6,10de:0fb9')
    expect(no.screen).toMatch(/nothing was written\n$/)
    // The question below the plan says what to do next.
    expect(no.screen).not.toContain('Add --apply')
    expect(no.code).toBe(2)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)

    const yes = choose(dir, `${number}\ny\n`)
    expect(yes.screen).toContain('Write this? [y/N] ')
    expect(yes.code).toBe(0)
    expect(textOf(dir, 'etc/modprobe.d/00-vfio-scripts.conf')).toContain('ids=10de:1cb6,10de:0fb9')
  })

  it('refuses a number that is none, and what a guard refuses', () => {
    const dir = systemDir({ machine: 'i9-14900k-vmd' })
    expect(choose(dir, '99\n').screen).toMatch(/99: no card of that number; nothing was written/)
    expect(choose(dir, '1\n').screen).toMatch(/refused \(boot-vga\)/)
  })
})
