import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { readRomThrough } from '../../lib/change/sysfs.ts'
import { scratchDir } from '../support/machine.ts'
import { romOf } from '../support/rom.ts'
import { runProgram } from '../support/run.ts'

// A pipe stands for the file `rom`: what is written to it, what it gives, and what the card's power is meanwhile.

/** A function's folder; the "kernel" answers the read with `give`, a program of the shell. */
function folder(give: string, control: string | null = 'auto'): { dir: string; said: () => Promise<string> } {
  const dir = scratchDir('rom')
  runProgram('mkdir', [`${dir}/power`])
  runProgram('mkfifo', [`${dir}/rom`])
  if (control !== null) writeFileSync(`${dir}/power/control`, `${control}\n`)
  writeFileSync(`${dir}/data`, romOf(0x10de, 0x1cb6, 0, 3))
  const program = `cd "$1"; read on <rom; power=$(cat power/control 2>/dev/null); { ${give}; } >rom; read off <rom; echo "$on $power $off"`
  const kernel = spawn('sh', ['-c', program, 'sh', dir], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  kernel.stdout.on('data', (more) => (text += more))
  return { dir, said: () => new Promise((settle) => kernel.on('close', () => settle(text.trim()))) }
}

const controlOf = (dir: string): string => readFileSync(`${dir}/power/control`, 'utf8').trim()

describe('the ROM of a card', () => {
  it('is read byte for byte, enabled and awake meanwhile; both are put back', async () => {
    const { dir, said } = folder('cat data')
    const told = said()
    expect(await readRomThrough(dir)).toEqual(romOf(0x10de, 0x1cb6, 0, 3))
    expect(await told).toBe('1 on 0')
    expect(controlOf(dir)).toBe('auto')
  })

  it('a kernel without power management has nothing to put back', async () => {
    const { dir, said } = folder('cat data', null)
    const told = said()
    expect((await readRomThrough(dir)).length).toBe(2048)
    expect(await told).toBe('1  0')
  })

  it('one that gives nothing is no ROM, and all is put back', async () => {
    const { dir, said } = folder('true')
    const told = said()
    await expect(readRomThrough(dir)).rejects.toMatchObject({ code: 'no-rom' })
    expect([await told, controlOf(dir)]).toEqual(['1 on 0', 'auto'])
  })

  it('is put back by a run that is interrupted, too', async () => {
    // A pipe, other than a file of sysfs, waits for whoever opens its other end: it is interrupted while it is read.
    const { dir, said } = folder('touch begun; cat data; sleep 1')
    const told = said()
    const stop = new AbortController()
    const reading = readRomThrough(dir, stop.signal)
    while (!existsSync(`${dir}/begun`)) await new Promise((wake) => setTimeout(wake, 20))
    expect(controlOf(dir)).toBe('on')
    stop.abort()
    await expect(reading).rejects.toMatchObject({ code: 'interrupted' })
    expect(controlOf(dir)).toBe('auto')
    expect(await told).toMatch(/ 0$/)
  })
})
