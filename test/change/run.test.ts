import { Buffer } from 'node:buffer'
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { runCommand, runFilter, setInheritedLock } from '../../lib/change/run.ts'
import { UserError } from '../../lib/core/error.ts'
import { newFolder } from '../support/expect.ts'

// What every program that a script runs is promised, each seen from inside the program.

const here = { root: '/' }
const node = (text: string, ...args: string[]): string[] => [process.execPath, '-e', text, '--', ...args]
const sh = (text: string): string[] => ['sh', '-c', text]

afterEach(() => {
  vi.unstubAllEnvs()
  setInheritedLock(undefined)
})

describe('a program that is run', () => {
  const told = 'process.stdout.write(JSON.stringify(process.argv.slice(1)))'

  it('has its arguments exactly', async () => {
    const args = [
      'a b',
      "it's",
      '"',
      '$(id)',
      '`id`',
      '$HOME',
      'x\ny',
      '\t',
      '-n',
      '--',
      '',
      '*',
      '~',
      '\\n',
      '!1',
      'é',
      ';',
      '&',
    ]
    expect(JSON.parse((await runCommand(node(told, ...args), here)).stdout)).toEqual(args)
  })

  it('has more arguments than fit into the command line of a shell', async () => {
    const args = Array.from({ length: 4000 }, (_, index) => `/a/path/that/a/plan/writes/to/${index}`)
    expect(JSON.parse((await runCommand(node(told, ...args), here)).stdout)).toEqual(args)
  })

  it('is the one on the PATH, whatever function a shell has by that name', async () => {
    vi.stubEnv('BASH_FUNC_uname%%', '() { echo a function; }')
    expect((await runCommand(['uname'], here)).stdout).toBe('Linux\n')
  })

  it('has the C locale, and the folders of system programs on its PATH', async () => {
    vi.stubEnv('LC_ALL', 'de_DE.UTF-8')
    const seen = async (): Promise<string> => (await runCommand(sh('echo "$LC_ALL $PATH"'), here)).stdout
    vi.stubEnv('PATH', '/usr/bin:/bin')
    const sbin = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    expect(await seen()).toBe(`C /usr/bin:/bin:${sbin}\n`)
    vi.stubEnv('PATH', undefined)
    expect(await seen()).toBe(`C ${sbin}\n`)
  })

  it('obeys no variable of zx, under which a script may have been started', async () => {
    const text = 'echo "$(pwd) $(sleep 0.1)$ZX_PREFIX"'
    const plain = (await runCommand(sh(text), here)).stdout.trim()
    const names = {
      SHELL: '/bin/false',
      PREFIX: 'exit 7;',
      POSTFIX: '; exit 7',
      CWD: '/',
      TIMEOUT: '1ms',
      VERBOSE: 'true',
    }
    for (const [name, value] of Object.entries(names)) vi.stubEnv(`ZX_${name}`, value)
    expect(await runCommand(sh(text), here)).toMatchObject({ code: 0, output: `${plain} exit 7;\n` })
  })

  it('leads a session of its own, and has nothing to read', async () => {
    const { stdout } = await runCommand(sh('echo $$ $(cut -d " " -f 5,6 /proc/$$/stat); cat'), here)
    const [pid] = stdout.split(' ')
    expect(stdout).toBe(`${pid} ${pid} ${pid}\n`)
  })

  it('inherits the lock as descriptor 3, or what it is given instead', async () => {
    const folder = newFolder()
    const open = (name: string): number => openSync(join(folder, name), 'w')
    const [lock, other] = [open('lock'), open('other')]
    const third = async (more = {}): Promise<string> =>
      (await runCommand(sh('readlink /proc/$$/fd/3 || echo none'), { ...here, ...more })).stdout.trim()
    expect(await third()).toBe('none')
    setInheritedLock(lock)
    expect(await third()).toBe(join(folder, 'lock'))
    expect(await third({ inherit: other })).toBe(join(folder, 'other'))
    for (const fd of [lock, other]) closeSync(fd)
  })
})

describe('of a program that is run', () => {
  it('the output is heard while it comes, both streams in their order', async () => {
    const seen = join(newFolder(), 'seen')
    const heard: string[] = []
    const text = `echo one; until [ -e ${seen} ]; do sleep 0.02; done; echo two >&2; sleep 0.1; echo three`
    const onOutput = (part: string): void => {
      heard.push(part)
      // It goes on only once this was heard.
      writeFileSync(seen, '')
    }
    const ran = await runCommand(sh(text), { ...here, onOutput })
    expect(heard).toEqual(['one\n', 'two\n', 'three\n'])
    expect(ran).toMatchObject({ code: 0, stdout: 'one\nthree\n', output: 'one\ntwo\nthree\n' })
  })

  it('a character that comes in two parts is one', async () => {
    const text =
      'process.stdout.write(Buffer.from([0xc3]), () => setTimeout(() => process.stdout.write(Buffer.from([0xa9])), 100))'
    expect((await runCommand(node(text), here)).stdout).toBe('é')
  })

  it('an exit code is told, and none where a signal ended it or it could not be started', async () => {
    expect(await runCommand(sh('exit 127'), here)).toMatchObject({ code: 127 })
    expect(await runCommand(sh('kill -9 $$'), here)).toMatchObject({ code: null })
    const missing = await runCommand(['/no/such/program'], here)
    expect(missing).toMatchObject({ code: null, stdout: '', output: expect.stringContaining('ENOENT') })
  })

  it('one that does not end in time is left behind, where no ps is there either', async () => {
    vi.stubEnv('PATH', newFolder())
    const began = Date.now()
    const ran = await runCommand(['/bin/sh', '-c', 'trap "" TERM; echo begun; exec /bin/sleep 3'], {
      ...here,
      seconds: 0.5,
    })
    expect(ran).toMatchObject({ code: null, output: 'begun\nno answer after 0.5 s' })
    expect(Date.now() - began).toBeLessThan(2500)
  })

  it('an abort ends all that it started, and waits until they have cleaned up', async () => {
    const folder = newFolder()
    const child = `trap 'sleep 0.5; echo cleaned up; touch ${folder}/cleaned; exit' TERM; touch ${folder}/ready; while :; do sleep 0.05; done`
    const stop = new AbortController()
    const running = runCommand(sh(`(${child}) & trap exit TERM; wait`), { ...here, signal: stop.signal })
    while (!existsSync(`${folder}/ready`)) await new Promise((wake) => setTimeout(wake, 20))
    stop.abort()
    expect((await running).stdout).toBe('cleaned up\n')
    expect(existsSync(`${folder}/cleaned`)).toBe(true)
  })
})

describe('a program that is run as a filter', () => {
  async function bytesOf(argv: readonly string[], input: Iterable<Buffer>): Promise<number> {
    let length = 0
    for await (const chunk of runFilter(argv, input)) length += chunk.length
    return length
  }
  const pieces = Array.from({ length: 40 }, () => Buffer.alloc(1 << 20, 1))

  it('has its input piece by piece, and its output is given as it comes', async () => {
    expect(await bytesOf(['cat'], pieces)).toBe(40 << 20)
    let asked = 0
    const counted = (function* () {
      for (const piece of pieces) {
        asked++
        yield piece
      }
    })()
    for await (const _ of runFilter(['cat'], counted)) break
    expect(asked).toBeLessThan(10)
  })

  it('is missing, or fails with what it says first, also where it reads nothing', async () => {
    await expect(bytesOf(['no-such-program'], pieces)).rejects.toMatchObject({
      code: 'missing-program',
      message: 'it takes the program no-such-program, which is not installed',
    })
    const fails = bytesOf(sh('echo some; echo broken >&2; echo more >&2; exit 3'), pieces)
    await expect(fails).rejects.toMatchObject({ code: 'damaged', message: 'sh cannot unpack it (broken)' })
    const unread = function* (): Generator<Buffer> {
      yield Buffer.alloc(10)
      throw new UserError('denied', 'not read')
    }
    await expect(bytesOf(['cat'], unread())).rejects.toMatchObject({ code: 'denied' })
  })

  it('is ended once nobody reads what it writes', async () => {
    const seen = join(newFolder(), 'pid')
    for await (const _ of runFilter(sh(`echo $$ >${seen}; exec yes`), [])) break
    const pid = readFileSync(seen, 'utf8').trim()
    const began = Date.now()
    while (existsSync(`/proc/${pid}/fd/1`) && Date.now() - began < 5000)
      await new Promise((wake) => setTimeout(wake, 20))
    expect(existsSync(`/proc/${pid}/fd/1`)).toBe(false)
  })
})
