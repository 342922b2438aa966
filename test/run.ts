import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const PROJECT = fileURLToPath(new URL('..', import.meta.url))

export interface Ran {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs a built script as a user would; `uid` as another user than root. */
export function runScript(
  name: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; node?: string; uid?: number; cwd?: string } = {},
): Ran {
  return runProgram(options.node ?? process.execPath, [`${PROJECT}scripts/${name}.mjs`, ...args], options)
}

export function runProgram(
  program: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; uid?: number; cwd?: string } = {},
): Ran {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    // A program that hangs is an error, not a test run without end.
    timeout: 120_000,
    env: { ...process.env, ...options.env },
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  if (error !== undefined) throw error
  return { code: status, stdout, stderr }
}

/** Is this program here? Tests that compare with a real tool say so when it is not. */
export function has(program: string): boolean {
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(`${folder}/${program}`))
}
