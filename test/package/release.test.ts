import { appendFileSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { newFolder } from '../support/expect.ts'
import { PROJECT, runProgram } from '../support/run.ts'

const { bin, scripts } = JSON.parse(readFileSync(`${PROJECT}package.json`, 'utf8'))
const names = Object.keys(bin).sort()

/** The folder that `npm run release` makes. */
function release(): string {
  const folder = join(newFolder(), 'release')
  expect(scripts.release).toBe('node build.mjs && node build.mjs release release')
  const ran = runProgram('node', ['build.mjs', 'release', folder], { cwd: PROJECT })
  expect(ran).toEqual({ code: 0, stdout: '', stderr: '' })
  return folder
}

it('a release is the single files, the runbook, their completions, licences and checksums that hold', () => {
  const folder = release()
  expect(readdirSync(folder).sort()).toEqual(
    [
      'SHA256SUMS',
      'LICENSE',
      'THIRD-PARTY-NOTICES',
      'setup.md',
      ...names.map((name) => `${name}.mjs`),
      'completions',
    ].sort(),
  )
  const all = readdirSync(folder, { recursive: true }).map(String)
  const files = all.filter((file) => file !== 'SHA256SUMS' && statSync(join(folder, file)).isFile()).sort()
  expect(files).toHaveLength(names.length * 4 + 3)

  const check = (): ReturnType<typeof runProgram> =>
    runProgram('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: folder })
  const { code, stdout } = check()
  expect({ code, stdout }).toEqual({ code: 0, stdout: files.map((file) => `${file}: OK\n`).join('') })
  expect(runProgram(join(folder, 'bind-vfio.mjs'), ['--version']).stdout).toMatch(/^bind-vfio \d/)

  appendFileSync(join(folder, 'bind-vfio.mjs'), '//\n')
  expect(check().stdout).toContain('bind-vfio.mjs: FAILED')
})

it('a second release of the same is the same', () => {
  const sums = (): string => readFileSync(join(release(), 'SHA256SUMS'), 'utf8')
  expect(sums()).toBe(sums())
})
