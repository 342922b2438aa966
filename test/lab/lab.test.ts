import { describe, expect, it } from 'vitest'
import { runProgram } from '../support/run.ts'

const lab = (...args: string[]) => runProgram(process.execPath, ['build.mjs', 'run', 'test/lab/lab.ts', ...args])

describe('the lab’s command line', () => {
  it('names the scenarios', () => {
    const { code, stdout } = lab('--list')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^reads-intel +\S/m)
    expect(stdout).toMatch(/^bind-vfio-in-guest .*\(slow\)$/m)
  })

  it.each([['--no-such'], ['no-such'], ['--keep'], ['--scripts']])('%s is one line and exit 2', (...args) => {
    const { code, stdout, stderr } = lab(...args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^lab: .+\n$/)
  })
})
