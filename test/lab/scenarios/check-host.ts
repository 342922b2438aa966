import { expectCode } from '../expect.ts'
import { amd, intelBooted, type Machine, none } from '../machines.ts'
import type { Lab, Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'

interface Found {
  code: string
  state: 'ok' | 'problem' | 'unknown'
}

/** What the emulated machine is, by the kernel that runs on it. */
async function compare(lab: Lab, machine: Machine, expected: Readonly<Record<string, Found['state']>>): Promise<void> {
  const guest = await lab.start(machine)
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

export const checkHost: readonly Scenario[] = [
  {
    name: 'check-host-intel',
    about: 'check-host under an Intel IOMMU with interrupt remapping; the CPU has no VT-x',
    run: (lab) =>
      compare(lab, intelBooted, { iommu: 'ok', 'interrupt-remapping': 'ok', 'cpu-virtualisation': 'problem' }),
  },
  {
    name: 'check-host-amd',
    about: 'the same under an AMD IOMMU; the CPU has AMD-V',
    run: (lab) => compare(lab, amd, { iommu: 'ok', 'interrupt-remapping': 'ok', 'cpu-virtualisation': 'ok' }),
  },
  {
    name: 'check-host-none',
    about: 'without an IOMMU: a problem, and no remapping',
    run: (lab) => compare(lab, none, { iommu: 'problem', 'interrupt-remapping': 'problem' }),
  },
]
