import { expectCode } from '../expect.ts'
import type { Guest } from '../guest.ts'
import type { Lab } from '../scenario.ts'
import { LabError } from '../shell.ts'

interface Found {
  code: string
  state: 'ok' | 'problem' | 'unknown'
}

export type FoundStates = Readonly<Record<string, Found['state']>>

/** What the emulated machine is, by the kernel that runs on it. */
export async function compareCheckHost(lab: Lab, guest: Guest, expected: FoundStates): Promise<void> {
  await lab.step('check-host sees the machine as it is', async () => {
    // Debian's small root has no QEMU: that is a problem on each of these machines.
    const ours = await guest.run('check-host --json')
    expectCode('check-host --json', ours, 1)
    const { findings } = JSON.parse(ours.stdout) as { findings: Found[] }
    for (const [code, state] of Object.entries({ ...expected, qemu: 'problem', 'dangerous-settings': 'ok' })) {
      const found = findings.find((one) => one.code === code)
      if (found?.state !== state) throw new LabError(`${code}: ${found?.state ?? 'not looked at'}, expected ${state}`)
    }
    lab.note(findings.map(({ code, state }) => `${code} ${state}`).join(', '))
  })
  await lab.step('interrupts are remapped exactly where the kernel names its chips so', async () => {
    const { stdout } = await guest.run('grep -c " IR-" /proc/interrupts')
    const remapped = Number(stdout) > 0
    if (remapped !== (expected['interrupt-remapping'] === 'ok'))
      throw new LabError(`/proc/interrupts has ${stdout.trim()} remapped interrupts`)
  })
}
