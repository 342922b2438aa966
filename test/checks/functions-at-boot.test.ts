import { describe, expect, it } from 'vitest'
import { expectRan, tune, write } from '../support/bind.ts'
import { runScript } from '../support/run.ts'
import { sriovServer } from '../support/sriov.ts'

describe('check-host', () => {
  const asked = (dir: string): string => runScript('check-host', ['--root', dir, '--all']).stdout
  it('names functions that nothing makes at boot, and is content when something does', () => {
    const dir = sriovServer()
    expect(asked(dir)).toMatch(
      /0000:3b:00\.0 has 4 virtual functions, and nothing that is known here makes them at boot/,
    )
    expect(asked(sriovServer({ 'etc/rc.local': 'echo 4 >/sys/bus/pci/devices/0000:3b:00.0/sriov_numvfs\n' }))).toMatch(
      /0000:3b:00\.0 has 4 virtual functions, and files that may make them at boot/,
    )
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(asked(dir)).toMatch(/0000:3b:00\.0 has 4 virtual functions, made at every boot by tune-host/)
    expect(asked(dir)).toMatch(/0000:3b:00\.1 has 2 virtual functions, and nothing/)
    // NVIDIA's driver makes them with a program of its own.
    expect(asked(dir)).toMatch(/0000:af:00\.0 has 3.*?→[^\n]*sriov-manage/s)
  })
})
