// What tests of errors share, and folders to make trees in.
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { PROJECT, type Ran } from './run.ts'

export const SCRIPTS = ['list-iommu', 'check-reset'] as const
export type ScriptName = (typeof SCRIPTS)[number]

/** A person never sees where in the code something happened. */
export function expectNoTrace({ stdout, stderr }: Ran): void {
  expect(stderr).not.toMatch(/^\s+at |node:internal|file:\/\/|Node\.js v/m)
  expect(stdout).not.toMatch(/^\s+at .*:\d+:\d+\)?$/m)
}

/** A run that could not: exit 2, nothing on stdout, and one line on stderr that holds all of `parts`. */
export function expectError(ran: Ran, ...parts: string[]): void {
  expectNoTrace(ran)
  expect(ran.stderr).toMatch(/^[^\n]+\n$/)
  for (const part of parts) expect(ran.stderr).toContain(part)
  expect(ran.stdout).toBe('')
  expect(ran.code).toBe(2)
}

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
}, 120_000)

/** A new folder that every user may look into, removed after the tests of the file. */
export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vfio-scripts-'))
  chmodSync(folder, 0o755)
  folders.push(folder)
  return folder
}

/** The built script alone in a new folder. */
export function copyScript(name: string): string {
  const file = join(newFolder(), `${name}.mjs`)
  copyFileSync(`${PROJECT}scripts/${name}.mjs`, file)
  chmodSync(file, 0o755)
  return file
}
