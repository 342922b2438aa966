import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runInThread } from './in-process.ts'

export const PROJECT = fileURLToPath(new URL('../..', import.meta.url))

/** Names the environment variable with the folder that test/support/setup.ts put bundles into. */
export const BUNDLES = 'VFIO_TEST_BUNDLES'

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv
  /** User and group. */
  uid?: number
  cwd?: string
  /** What standard input holds [nothing]. */
  input?: string
  /** After so many it is an error [2]. */
  minutes?: number
}

/**
 * Runs a script as a user would, but in this process where nothing in the options needs one: `uid`, `cwd`, `input`,
 * another `node`, or `process`, which tests ask for that are about what only a process has.
 */
export function runScript(
  name: string,
  args: readonly string[],
  options: RunOptions & { node?: string; process?: true } = {},
): Ran {
  const { node, env, uid, cwd, input } = options
  const folder = process.env[BUNDLES]
  if (folder !== undefined && [options.process, node, uid, cwd, input].every((each) => each === undefined)) {
    const all = Object.entries({ ...process.env, ...env }).filter(
      (each): each is [string, string] => each[1] !== undefined,
    )
    // Standard input is a process's.
    if (!args.includes('-')) return runInThread(folder, { name, args, env: Object.fromEntries(all) })
  }
  const file = uid === undefined ? `${PROJECT}scripts/${name}.mjs` : forEverybody(name)
  return runProgram(node ?? process.execPath, [file, ...args], options)
}

/** A copy of a built script that other users may read: those of a checkout in somebody's home may not be. */
function forEverybody(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'vfio-scripts-'))
  chmodSync(folder, 0o755)
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, `${name}.mjs`)
  copyFileSync(`${PROJECT}scripts/${name}.mjs`, file)
  return file
}

export function runProgram(program: string, args: readonly string[], options: RunOptions = {}): Ran {
  const { env, uid, cwd, input, minutes = 2 } = options
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    // A program that hangs is an error, not a test run without end.
    timeout: minutes * 60_000,
    // bash takes a shell of level 1 with a socket for its input for one of rsh, and reads its startup files.
    env: { ...process.env, SHLVL: '2', ...env },
    ...(uid === undefined ? {} : { uid, gid: uid }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(input === undefined ? {} : { input }),
  })
  if (error !== undefined) throw error
  return { code: status, stdout, stderr }
}

/** Is this program here? Tests that compare with a real tool say so when it is not. */
export function has(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(`${folder}/${program}`))
}

/** Is it here, and does it do what these arguments ask? For what a program, the kernel or a container may not allow. */
export function works(program: string, ...args: string[]): boolean {
  return has(program) && runProgram(program, args).code === 0
}
