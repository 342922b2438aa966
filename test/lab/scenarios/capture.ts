import { join } from 'node:path'
import { expectCode, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { intel } from '../machines.ts'
import type { Lab, Scenario } from '../scenario.ts'

/** Of each script, the ways to print that are compared. */
const commands = {
  'list-iommu': ['list-iommu --json', 'list-iommu --format lspci'],
  'check-reset': ['check-reset --json'],
}

/** What --capture writes in the guest reads back on this machine to the same output. */
export async function readBack(lab: Lab, guest: Guest): Promise<void> {
  for (const [script, ways] of Object.entries(commands)) {
    const capture = await lab.step(`${script} --capture`, async () => {
      const captured = await guest.run(`${script} --capture out/machine`)
      if (captured.code > 1) expectCode(`${script} --capture`, captured, 0)
      const count = await lab.host(`find ${captured.files}/machine ! -type d | wc -l`)
      lab.note(`${count.stdout.trim()} files`)
      return join(captured.files, 'machine')
    })
    for (const command of ways) {
      await lab.step(`${command} says the same from the capture on this machine`, async () => {
        const there = await guest.run(command)
        const here = await lab.host(`${command} --machine ${capture}`)
        expectSame(command, here.stdout, there.stdout)
        expectCode(command, here, there.code)
      })
    }
  }
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
