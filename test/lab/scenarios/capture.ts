import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expectCode, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { intel } from '../machines.ts'
import type { Capture, Lab, Scenario } from '../scenario.ts'

/** What --capture writes in the guest reads back on this machine to what `list-iommu` said there. */
export async function readBackListIommu(lab: Lab, { folder, said }: Capture, lspci: string): Promise<void> {
  for (const [command, there] of [
    ['list-iommu --json', said],
    ['list-iommu --format lspci', lspci],
  ] as const) {
    await lab.step(`${command} says the same from the capture on this machine`, async () => {
      const here = await lab.host(`${command} --machine ${folder}`)
      expectSame(command, here.stdout, there)
      expectCode(command, here, 0)
    })
  }
}

/** The same of `check-reset`, whose capture has other files. */
export async function readBackCheckReset(lab: Lab, guest: Guest): Promise<void> {
  await lab.step('check-reset --json says the same from its capture on this machine', async () => {
    const command = 'check-reset --json'
    const there = await guest.run(`${command} >out/said; check-reset --capture out/machine`)
    if (there.code > 1) expectCode('check-reset --capture', there, 0)
    const here = await lab.host(`${command} --machine ${there.files}/machine`)
    expectSame(command, here.stdout, readFileSync(join(there.files, 'said'), 'utf8'))
  })
}

export const captureRooted: Scenario = {
  name: 'capture-rooted',
  slow: true,
  about: 'on this machine, with --root a guest’s disk and --machine its capture: the same as in the guest',
  async run(lab) {
    const capture = await lab.capture(intel, 'list-iommu')
    const disk = await lab.disk('initramfs-tools')
    const command = `list-iommu --json --root "$ROOT" --machine ${capture.folder}`
    const here = await disk.apply('list-iommu --json --root --machine', command)
    expectSame(command, here.stdout, capture.said)
  },
}
