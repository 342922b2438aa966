import { driversOf, expectCode, expectDrivers } from '../expect.ts'
import { grub, intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { systemdDisk } from './tune-host.ts'

export const unitOf = (address: string): string => `vfio-scripts-virtual-functions@${address}.service`

const machine = { ...grub(intel, 'bios'), cpus: 2, memory: 2048, virtualFunctions: true }
const card = '0000:06:00.0'
const settled = unitEnded(card)
const onVfio = Object.fromEntries([1, 2, 3, 4].map((fn) => [`0000:06:00.${fn}`, 'vfio-pci']))

/** Bash: what has to be done of a card's virtual functions is done, by the unit of tune-host or without it. */
export function unitEnded(address: string): string {
  return `udevadm settle; for i in $(seq 90); do case $(systemctl is-active ${unitOf(address)}) in activating) sleep 1 ;; *) break ;; esac; done`
}

/** QEMU keeps the functions of its drive offline until they are managed, so that who has them is what can be seen. */
export const virtualFunctionsOfNvme: Scenario = {
  name: 'virtual-functions',
  slow: true,
  about: 'virtual functions of an NVMe drive on vfio-pci: at once, after a reload of its driver, after a boot; undo',
  async run(lab) {
    const { disk } = await systemdDisk(lab)
    const first = await lab.start(machine, disk)
    await lab.step('list-iommu --sriov', async () => {
      const listed = await first.run('list-iommu --sriov', { seconds: 300 })
      expectCode('list-iommu --sriov', listed, 0, /06:00\.0 .*: 0 of 4 virtual functions/)
    })
    await lab.step('made at once, where they were predicted', async () => {
      const applied = await first.run('tune-host --vfs 06:00.0=4 --apply', { seconds: 300 })
      expectCode('tune-host --vfs', applied, 0, /Predicted: 0000:06:00\.1 to 0000:06:00\.4/)
      expectDrivers(await driversOf(first), { ...onVfio, [card]: 'nvme' })
      expectCode(
        'tune-host --status',
        await first.run('tune-host --status', { seconds: 300 }),
        0,
        /has 4 virtual functions/,
      )
    })
    await lab.step('made again when the driver comes back', async () => {
      const reload = `echo 0 >/sys/bus/pci/devices/${card}/sriov_numvfs; modprobe -r nvme && modprobe nvme; ${settled}; sleep 2; ${settled}`
      expectCode('the reload', await first.run(reload, { seconds: 300 }), 0, /^/)
      expectDrivers(await driversOf(first), { ...onVfio, [card]: 'nvme' })
    })
    await lab.step('not freed while one is in use', async () => {
      const held = `group=$(basename "$(readlink /sys/bus/pci/devices/0000:06:00.2/iommu_group)"); exec 9<>/dev/vfio/$group; tune-host --undo --apply`
      const refused = /0000:06:00\.2 → \/dev\/vfio\/\d+ is open in bash.*are not freed/
      expectCode('tune-host --undo', await first.run(held, { seconds: 300 }), 2, refused)
      expectDrivers(await driversOf(first), onVfio)
    })
    await first.end()
    const guest = await lab.start(machine, disk)
    await lab.step('there after the boot', async () => {
      const log = await guest.run(`${settled}; systemctl status ${unitOf(card)} --no-pager || :`, { seconds: 300 })
      expectCode('the unit', log, 0, /4 virtual functions are there/)
      expectDrivers(await driversOf(guest), { ...onVfio, [card]: 'nvme' })
      expectCode(
        'tune-host --status',
        await guest.run('tune-host --status', { seconds: 300 }),
        0,
        /^tune-host: in-force/m,
      )
    })
    await lab.step('undone', async () => {
      const undone = await guest.run(
        `tune-host --undo --apply && cat /sys/bus/pci/devices/${card}/sriov_numvfs; ls /etc/vfio-scripts /etc/systemd/system | grep -c virtual`,
        { seconds: 300 },
      )
      expectCode('tune-host --undo', undone, 1, /^0\n0\n/m)
      expectDrivers(await driversOf(guest), { [card]: 'nvme' })
    })
    await guest.end()
  },
}
