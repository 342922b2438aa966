// The runbook scripts/setup.md, copied beside the scripts and run by zx.
import { execFile } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { newFolder } from './expect.ts'
import { PROJECT, type Ran } from './run.ts'

export const PAGE = `${PROJECT}scripts/setup.md`
const SCRIPTS = readdirSync(`${PROJECT}scripts`).filter((name) => name.endsWith('.mjs'))
export const CLI = `${PROJECT}node_modules/zx/build/cli.js`

/** The page beside the scripts in a folder of its own: zx writes there what it runs. */
export function copyPage(): string {
  const folder = newFolder()
  for (const name of SCRIPTS) symlinkSync(`${PROJECT}scripts/${name}`, join(folder, name))
  copyFileSync(PAGE, join(folder, 'setup.md'))
  return join(folder, 'setup.md')
}

/** Runs the page; it leaves nothing beside itself. With ZX_ variables of somebody else. */
export function setupAt(page: string, more: NodeJS.ProcessEnv, ...args: string[]): Promise<Ran> {
  const env = { ...process.env, ...more, ZX_SHELL: '/bin/false', ZX_PREFIX: 'exit 1;', ZX_POSTFIX: ';exit 1' }
  return new Promise((settle) => {
    const ran = execFile(process.execPath, [CLI, page, ...args], { env, timeout: 120_000 }, (_, stdout, stderr) => {
      expect(readdirSync(dirname(page))).toHaveLength(SCRIPTS.length + 1)
      settle({ code: ran.exitCode, stdout, stderr })
    })
    ran.stdin?.end()
  })
}

/**
 * The page beside stand-ins that write down each call, `null` for one by a process of its own, and pass it on; with a
 * `root`, they look at it, though the page was not told so and runs its own commands.
 */
export function copyCounted(log: string, root?: string): string {
  const page = copyPage()
  for (const name of SCRIPTS) {
    const note = `['${name}', ...(globalThis[Symbol.for('vfio-scripts/caller')]?.argv ?? [null])]`
    const lines = [`appendFileSync('${log}', JSON.stringify(${note}) + '\\n')`]
    if (root !== undefined) lines.push(`globalThis[Symbol.for('vfio-scripts/caller')]?.argv.push('--root', '${root}')`)
    lines.push(`await import('${PROJECT}scripts/${name}' + new URL(import.meta.url).search)`)
    rmSync(join(dirname(page), name))
    writeFileSync(join(dirname(page), name), `import { appendFileSync } from 'node:fs'\n${lines.join('\n')}\n`)
  }
  return page
}

/** The calls that stand-ins wrote down: each script, and the first word that it got. */
export const callsIn = (log: string): string[] =>
  readFileSync(log, 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as string[]).slice(0, 2).join(' '))
