import { expectCode, expectSame } from '../expect.ts'
import { amd, intel, type Machine } from '../machines.ts'
import type { Lab, Scenario } from '../scenario.ts'

/** One way to print in each of the scripts, and the codes that it may end with. */
const commands = ['list-iommu --json', 'list-iommu --format lspci', 'check-reset --json']

async function readBack(lab: Lab, machine: Machine): Promise<void> {
  const guest = await lab.start(machine)
  for (const command of commands) {
    const script = command.split(' ')[0]
    await lab.step(`${command}, captured, says the same on this machine`, async () => {
      const there = await guest.run(`${command}; code=$?; ${script} --capture out/machine >out/talk; exit $code`)
      const files = await lab.host(`find ${there.files}/machine ! -type d | wc -l; du -sk ${there.files}/machine`)
      const [count, kilobytes] = files.stdout.split(/\s+/)
      const here = await lab.host(`${command} --machine ${there.files}/machine`)
      expectCode(command, here, there.code)
      expectSame(command, here.stdout, there.stdout)
      lab.note(`${count} files, ${kilobytes} kB`)
    })
  }
}

export const captureIntel: Scenario = {
  name: 'capture-intel',
  about: 'what --capture writes in the guest reads back on this machine to the same output',
  run: (lab) => readBack(lab, intel),
}

export const captureAmd: Scenario = {
  name: 'capture-amd',
  about: 'the same under an AMD IOMMU, with an NVMe drive',
  run: (lab) => readBack(lab, amd),
}
