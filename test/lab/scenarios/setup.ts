import { driversOf, expectCode, expectDrivers, expectSame } from '../expect.ts'
import { amd, grub } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { listing } from './bind-vfio.ts'
import { systemdDisk } from './tune-host.ts'

// The emulated AMD has SVM, so that the guest's guest runs by KVM, as it was printed.

// All that the runbook would install: the machine has no network.
const programs = [
  ...['qemu-system-x86', 'qemu-utils', 'ovmf', 'libvirt-daemon-system', 'libvirt-clients', 'dnsmasq-base'],
  ...['swtpm', 'swtpm-tools', 'virtinst', 'libosinfo-bin'],
]
const machine = { ...grub(amd, 'bios'), cpus: 2, memory: 2048 }
const card = '0000:05:00.0'

/** The runbook, the scripts beside it, and zx. */
const copied = `
scripts=$(dirname "$(readlink -f "$(command -v bind-vfio)")")
mkdir -p "$ROOT/opt/vfio-scripts"
cp "$scripts"/*.mjs "$scripts"/setup.md "$ROOT/opt/vfio-scripts"
cp -r "$scripts/../node_modules/zx" "$ROOT/usr/local/lib/zx"`

const setup = (args: string) => `cd /opt/vfio-scripts && node /usr/local/lib/zx/build/cli.js setup.md ${args}`
const asked =
  '--pci 05:00 --name vm --guest linux --memory 128M --hugepages 2M --network none --headless --firmware bios --confirm-within 40m'

export const runbook: Scenario = {
  name: 'setup',
  about: 'the runbook alone: from a fresh Debian to a guest that owns a card, and back',
  slow: true,
  async run(lab) {
    const { disk } = await systemdDisk(lab, programs)
    await disk.apply('the runbook', copied)
    const first = await lab.start(machine, disk)
    const listed = async (guest: typeof first) => (await guest.run(`ROOT=/; ${listing}`, { seconds: 300 })).stdout
    const before = await listed(first)
    await lab.step('the plan', async () =>
      expectCode('setup', await first.run(setup(asked), { seconds: 600 }), 1, /this is the plan/),
    )
    expectSame('/etc after the plan', await listed(first), before)
    await lab.step('up to the reboot', async () =>
      expectCode('setup --apply', await first.run(setup(`${asked} --apply`), { seconds: 900 }), 1, /now reboot/),
    )
    await first.end()

    const host = await lab.start(machine, disk)
    await lab.step('on vfio-pci', async () => expectDrivers(await driversOf(host), { [card]: 'vfio-pci' }))
    await lab.step('the same again: the guest runs', async () =>
      expectCode(
        'setup --apply',
        await host.run(setup(`${asked} --apply`), { seconds: 900 }),
        0,
        /confirmed.*vm runs, and owns/s,
      ),
    )
    await lab.step('QEMU holds the card, by KVM and in huge pages', async () => {
      const look = `virsh domstate vm; pid=$(cat /run/libvirt/qemu/vm.pid)
ls -l /proc/$pid/fd | grep -o '/dev/vfio/[0-9]*$'; ls -l /proc/$pid/fd | grep -o -m 1 kvm-vm; grep HugePages_Free: /proc/meminfo`
      const says = /^running\n\n\/dev\/vfio\/\d+\nkvm-vm\nHugePages_Free: +0$/m
      expectCode('the guest', await host.run(look, { seconds: 120 }), 0, says)
    })
    await lab.step('a third time nothing is left to do', async () =>
      expectCode('setup --apply', await host.run(setup(`${asked} --apply`), { seconds: 900 }), 0, /^vm runs\.$/m),
    )
    await lab.step('a guest that runs is not taken away', async () =>
      expectCode(
        '--undo',
        await host.run(setup('--name vm --undo --apply'), { seconds: 300 }),
        1,
        /shut it down first/,
      ),
    )
    await lab.step('back again', async () => {
      const undo = `virsh destroy vm; ${setup('--name vm --undo --apply')}`
      expectCode('--undo', await host.run(undo, { seconds: 900 }), 0)
    })
    await host.end()
    const after = await lab.start(machine, disk)
    await lab.step('on its host driver', async () => expectDrivers(await driversOf(after), { [card]: 'e1000e' }))
    expectSame('/etc after all', await listed(after), before)
    await after.end()
  },
}
