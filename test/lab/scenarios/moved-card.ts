import { driversOf, expectDrivers } from '../expect.ts'
import { intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'

export const movedCard: Scenario = {
  name: 'moved-card',
  slow: true,
  about: 'the lab itself: a card in another port has another address, all others keep theirs',
  async run(lab) {
    const guest = await lab.start({ ...intel, moved: { nicA: '03.1' } })
    await lab.step('04:00.0 is 0e:00.0 now', async () => {
      const drivers = await driversOf(guest)
      expectDrivers(drivers, { '0000:0e:00.0': 'e1000e', '0000:05:00.0': 'e1000e', '0000:0d:00.0': 'bochs-drm' })
      if (drivers.driver.has('0000:04:00.0')) throw new LabError('there still is a device at 0000:04:00.0')
    })
  },
}
