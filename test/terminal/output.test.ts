import { spawn } from 'node:child_process'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { expectNoTrace, newFolder, SCRIPTS, type ScriptName } from '../support/expect.ts'
import { generateMachine, machineDir, scratchDir, writeMachine } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, runProgram, runScript } from '../support/run.ts'

const machine = machineDir('i9-14900k-vmd')
const ESC = '\u001b'
const quote = (words: readonly string[]): string => words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')

/** Runs a script on a real terminal of that many columns; the terminal turns each newline into CR LF. */
function onTerminal(name: ScriptName, args: readonly string[], env: NodeJS.ProcessEnv = {}, columns = 80) {
  const command = quote([process.execPath, `${PROJECT}scripts/${name}.mjs`, '--machine', machine, ...args])
  const ran = runProgram('script', ['-qec', `stty cols ${columns}; exec ${command}`, '/dev/null'], {
    env: { NO_COLOR: undefined, FORCE_COLOR: undefined, COLUMNS: undefined, TERM: 'xterm-256color', ...env },
  })
  return { ...ran, stdout: ran.stdout.replaceAll('\r\n', '\n') }
}

const plain = (text: string): string => text.replace(new RegExp(`${ESC}\\[\\d+m`, 'g'), '')
const widest = (text: string): number => Math.max(...text.split('\n').map((line) => line.length))

needs('script').describe('on a terminal (script of util-linux)', () => {
  it.each(SCRIPTS)('%s has colours', (script) => {
    const ran = onTerminal(script, [])
    expect(ran.stdout).toContain(`${ESC}[`)
    // Nothing but colours.
    expect(plain(ran.stdout)).not.toContain(ESC)
    expect(ran.code).toBe(runScript(script, ['--machine', machine]).code)
  })

  it.each(SCRIPTS)('%s has none with --no-color, NO_COLOR or TERM=dumb, and prints the same', (script) => {
    const colorless = plain(onTerminal(script, []).stdout)
    expect(onTerminal(script, ['--no-color']).stdout).toBe(colorless)
    expect(onTerminal(script, [], { NO_COLOR: '1' }).stdout).toBe(colorless)
    expect(onTerminal(script, [], { TERM: 'dumb' }).stdout).toBe(colorless)
    // no-color.org: an empty value asks for nothing.
    expect(plain(onTerminal(script, [], { NO_COLOR: '' }).stdout)).not.toBe(
      onTerminal(script, [], { NO_COLOR: '' }).stdout,
    )
  })

  it.each(['lspci', 'addresses', 'ids', 'svg', 'html'])('list-iommu --format %s has none', (format) => {
    const { stdout } = onTerminal('list-iommu', ['--format', format])
    expect(stdout).toBe(runScript('list-iommu', ['--machine', machine, '--format', format]).stdout)
    expect(stdout).not.toContain(ESC)
  })

  it.each([
    ['list-iommu', 80],
    ['list-iommu', 60],
    ['check-reset', 80],
    ['check-reset', 60],
  ] as const)("%s's table fits %d columns, with every device and its address whole", (script, columns) => {
    const lines = plain(onTerminal(script, [], {}, columns).stdout).split('\n')
    const table = lines.slice(0, lines.indexOf(''))
    const listing = runScript(script, ['--machine', machine]).stdout
    const addresses = listing.slice(0, listing.indexOf('\n\n')).match(/\b[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/g)
    expect(addresses?.length).toBeGreaterThan(5)
    expect(table.join('\n').match(/\b[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]/g)).toEqual(addresses)
    expect(widest(table.join('\n'))).toBeLessThanOrEqual(columns)
    expect(table.join('\n')).toContain('…')
  })

  it.each([60, 80, 100, 120])('list-iommu says at %d columns which card has the boot display', (columns) => {
    const { stdout } = onTerminal('list-iommu', [], {}, columns)
    expect(plain(stdout)).toMatch(/^ *13 +0000:01:00\.0 .*boot-vga/m)
  })

  it('the tree fits 80 columns', () => {
    expect(widest(plain(onTerminal('list-iommu', ['--format', 'tree'], {}, 80).stdout))).toBeLessThanOrEqual(80)
  })
})

describe('piped', () => {
  it.each(SCRIPTS)('%s has no colours and cuts nothing', (script) => {
    const { stdout } = runScript(script, ['--machine', machine], {
      env: { TERM: 'xterm-256color', COLUMNS: '60', FORCE_COLOR: '1', NO_COLOR: undefined },
    })
    expect(stdout).not.toContain(ESC)
    expect(stdout).not.toContain('…')
    expect(widest(stdout)).toBeGreaterThan(80)
  })
})

describe('a reader that goes away, or is slow', () => {
  const big = scratchDir('many')
  writeMachine(generateMachine(600), big)
  const whole = runScript('list-iommu', ['--machine', big, '--json']).stdout

  it.each(SCRIPTS)('%s | head -1', (script) => {
    const command = `${quote([process.execPath, `${PROJECT}scripts/${script}.mjs`, '--machine', big, '--json'])} | head -1`
    expect(runProgram('sh', ['-c', command])).toEqual({ code: 0, stdout: '{\n', stderr: '' })
  })

  /** Starts list-iommu on a pipe that does not wait for its reader, as some programs leave theirs. */
  function intoPipe() {
    const fifo = `${newFolder()}/pipe`
    runProgram('mkfifo', [fifo])
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK)
    const command = quote([process.execPath, `${PROJECT}scripts/list-iommu.mjs`, '--machine', big, '--json'])
    // Node makes descriptors 0 to 2 of its children blocking, so the shell gets the pipe as 3.
    const child = spawn('sh', ['-c', `exec ${command} >&3`], { stdio: ['ignore', 'ignore', 'pipe', writer] })
    closeSync(writer)
    let stderr = ''
    child.stderr?.on('data', (data) => {
      stderr += data
    })
    const ended = new Promise<{ code: number | null; stderr: string }>((resolve) => {
      child.on('close', (code) => resolve({ code, stderr }))
    })
    return { reader, ended }
  }

  /** What is in the pipe now; `undefined` at its end. */
  async function readSome(pipe: number): Promise<string | undefined> {
    const buffer = Buffer.alloc(16 * 1024)
    for (;;) {
      try {
        const count = readSync(pipe, buffer)
        return count === 0 ? undefined : buffer.toString('latin1', 0, count)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
        await sleep(5)
      }
    }
  }

  it('everything arrives through a full pipe that does not block', async () => {
    const { reader, ended } = intoPipe()
    let text = ''
    for (;;) {
      const some = await readSome(reader).catch(() => undefined)
      if (some === undefined) break
      text += some
    }
    closeSync(reader)
    expect(await ended).toEqual({ code: 0, stderr: '' })
    expect(text).toBe(Buffer.from(whole).toString('latin1'))
    expect(text.length).toBeGreaterThan(200_000)
  })

  it('a reader that closes such a pipe half-way is no error', async () => {
    const { reader, ended } = intoPipe()
    expect(await readSome(reader)).toBeDefined()
    await sleep(300)
    closeSync(reader)
    expect(await ended).toEqual({ code: 0, stderr: '' })
  })

  it('a full disk is an error in one line', () => {
    for (const args of [['--json'], ['--format', 'lspci'], ['--help'], ['--version']]) {
      const command = quote([process.execPath, `${PROJECT}scripts/list-iommu.mjs`, '--machine', big, ...args])
      const ran = runProgram('sh', ['-c', `exec ${command} >/dev/full`])
      expectNoTrace(ran)
      expect(ran.stderr).toMatch(/^list-iommu: standard output: [^\n]*ENOSPC[^\n]*\n$/)
      expect(ran.code).toBe(2)
    }
  })

  it('closed standard streams are no bug', () => {
    const command = quote([process.execPath, `${PROJECT}scripts/list-iommu.mjs`, '--machine', big])
    expect(runProgram('sh', ['-c', `${command} >&- 2>&- <&-; echo $?`]).stdout).toBe('0\n')
  })
})
