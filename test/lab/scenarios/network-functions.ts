import { type Drivers, driversOf, expectCode, expectDrivers, expectNeverProbed, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { grub, intel, type Machine } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { listing } from './bind-vfio.ts'
import { libvirtPrograms } from './gen-domain.ts'
import { systemdDisk } from './tune-host.ts'

// Virtual functions of a network card, made by its driver: QEMU's igb, with Debian's igb and igbvf.

const machine: Machine = { ...grub(intel, 'bios'), cpus: 2, memory: 2048, networkFunctions: true }
const card = '0000:04:00.0'
const unit = `vfio-scripts-virtual-functions@${card}.service`
const functions = [0, 2, 4, 6].map((fn) => `0000:04:10.${fn}`)
const onVfio = Object.fromEntries(functions.map((address) => [address, 'vfio-pci']))
const wanted = '--vfs 04:00.0=4 --vf-mac 0=52:54:00:aa:00:01 --vf-vlan 0=100'
const settled = `udevadm settle; for i in $(seq 90); do case $(systemctl is-active ${unit}) in activating) sleep 1 ;; *) break ;; esac; done`

/** The functions as they were asked for, the card as it was, and what the card keeps for the first one. */
async function expectMade(guest: Guest): Promise<Drivers> {
  const looked = await guest.run(`${settled}; systemctl status ${unit} --no-pager; ip link show enp4s0`, {
    seconds: 300,
  })
  const drivers = await driversOf(guest)
  expectDrivers(drivers, { ...onVfio, [card]: 'igb', '0000:05:00.0': 'e1000e' })
  expectCode('the card', looked, 0, /4 virtual functions are there[\s\S]*vf 0 .*52:54:00:aa:00:01 .*vlan 100/)
  const others = /^ +vf [1-3] .*link\/ether (02:\S+)(?!.*vlan)/gm
  const macs = [...looked.stdout.matchAll(others)].map(([, mac]) => mac)
  if (new Set(macs).size !== 3) throw new LabError(`three addresses of our own are expected: ${looked.stdout}`)
  expectNeverProbed(drivers, card, 'vfio-pci')
  for (const address of functions) expectNeverProbed(drivers, address, 'igbvf')
  return drivers
}

/** What the kernel log says of the card's own driver: once for each time that it was loaded. */
function expectProbedByIgb({ log }: Drivers, times: number): void {
  const found = log.split('\n').filter((line) => line.includes(`probing driver igb with device ${card}`))
  if (found.length !== times) throw new LabError(`igb was given the card ${found.length} times, not ${times}`)
}

export const networkFunctions: Scenario = {
  name: 'network-functions',
  about: 'virtual functions of a network card (igb): after the boot, a reload of its driver, another boot; undo',
  async run(lab) {
    const hardware: Machine = { iommu: 'intel', boot: 'direct', networkFunctions: true }
    const env = { CAPTURE: (await lab.capture(hardware, 'list-iommu')).folder }
    const { disk, before } = await systemdDisk(lab, libvirtPrograms)
    const apply = `tune-host --root "$ROOT" --machine "$CAPTURE" ${wanted} --apply`
    const applied = await disk.apply('tune-host --vfs', apply, env)
    expectCode('tune-host --vfs', applied, 0, /Predicted: 0000:04:10\.0 to 0000:04:10\.6/)
    await disk.apply('a second time changes nothing', `${apply} | grep -q '^Nothing to do'`, env)
    const guest = await lab.start(machine, disk)
    let seen = ''
    await lab.step('there after the boot, where they were predicted; the card never left its driver', async () => {
      expectProbedByIgb(await expectMade(guest), 1)
      seen = (await guest.run('ip link show enp4s0 | grep " vf "')).stdout
    })
    await lab.step('there again after a reload of its driver', async () => {
      const reload = `modprobe -r igb && modprobe igb; ${settled}; sleep 3`
      expectCode('the reload', await guest.run(reload, { seconds: 300 }), 0)
      expectProbedByIgb(await expectMade(guest), 2)
    })
    await lab.step('--status is 0', async () => {
      const status = await guest.run('tune-host --status; list-iommu --sriov', { seconds: 300 })
      expectCode('tune-host --status', status, 0, /^tune-host: in-force[\s\S]*04:00\.0 .*: 4 of 7 virtual functions/m)
    })
    await guest.reboot()
    await lab.step('the same after another boot', async () => {
      expectProbedByIgb(await expectMade(guest), 1)
      expectSame('the functions', (await guest.run('ip link show enp4s0 | grep " vf "')).stdout, seen)
    })
    await lab.step('undone', async () => {
      const undo = `tune-host --undo --apply >out/undo && cat /sys/bus/pci/devices/${card}/sriov_numvfs`
      expectCode('tune-host --undo', await guest.run(undo, { seconds: 300 }), 0, /^0\n$/)
      const drivers = await driversOf(guest)
      expectDrivers(drivers, { [card]: 'igb' })
      const left = functions.filter((address) => drivers.driver.has(address))
      if (left.length > 0) throw new LabError(`still there: ${left.join(' ')}`)
    })
    await guest.end()
    expectSame('/etc after the undo', (await disk.apply('/etc listed', listing)).stdout, before)
  },
}
