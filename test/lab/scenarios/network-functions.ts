import { type Drivers, driversOf, expectCode, expectDrivers, expectNeverProbed, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { grub, intel, type Machine } from '../machines.ts'
import type { Disk, Lab, Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { listing } from './bind-vfio.ts'
import { emulation, libvirtPrograms } from './gen-domain.ts'
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
  expectCode('the card', looked, 0, /vf 0 .*52:54:00:aa:00:01 .*vlan 100/)
  const others = /^ +vf [1-3] .*link\/ether (02:\S+)(?!.*vlan)/gm
  const macs = [...looked.stdout.matchAll(others)].map(([, mac]) => mac)
  if (new Set(macs).size !== 3) throw new LabError(`three addresses of our own are expected: ${looked.stdout}`)
  expectNeverProbed(drivers, card, 'vfio-pci')
  // The kernel logs a driver that it then keeps off; one that has a function says so itself.
  const taken = /^.*\bigbvf 0000:04:10\.\d: .*$/m.exec(drivers.log)
  if (taken !== null) throw new LabError(`a function was on igbvf before: ${taken[0]}`)
  return drivers
}

/** What the kernel log says of the card's own driver: once for each time that it was loaded. */
function expectProbedByIgb({ log }: Drivers, times: number): void {
  const found = log.split('\n').filter((line) => line.includes(`probing driver igb with device ${card}`))
  if (found.length !== times) throw new LabError(`igb was given the card ${found.length} times, not ${times}`)
}

/** A guest with a function of the card; its address and VLAN are other ones than tune-host gives, so that both are seen. */
const defined = (memory: string, change: string) => `set -e
gen-domain --name vm --guest linux --vf 04:00.0 --memory ${memory} --network none --headless --firmware bios >vm.xml
grep -A 9 "<interface type='hostdev'" vm.xml
sed ${emulation} ${change} vm.xml >emulated.xml
for i in $(seq 90); do virsh uri >/dev/null 2>&1 && break; sleep 1; done
virsh define emulated.xml`
const others = `-e 's/52:54:00:aa:00:01/52:54:00:bb:00:02/' -e "s/<tag id='100'/<tag id='200'/"`

const held = `ls -l /proc/$(cat /run/libvirt/qemu/vm.pid)/fd | grep -o '/dev/vfio/[0-9]*$'; virsh domstate vm; ip link show enp4s0`

async function expectGuestHasOne(guest: Guest, seen: string): Promise<void> {
  const run = (script: string) => guest.run(script, { seconds: 600 })
  const kept = /hostdev[\s\S]*52:54:00:aa:00:01[\s\S]*slot='0x10' function='0x0'[\s\S]*<tag id='100'/
  expectCode('gen-domain --vf', await run(defined('128M', others)), 0, kept)
  expectCode('virsh start', await run('virsh start vm'), 0)
  const its = /^\/dev\/vfio\/\d+\nrunning\n[\s\S]*vf 0 .*52:54:00:bb:00:02 .*vlan 200/
  expectCode('what the guest has', await run(held), 0, its)
  const refused = await run('tune-host --undo --apply')
  expectCode('tune-host --undo', refused, 2, /0000:04:10\.0 → \/dev\/vfio\/\d+ is open in .*are not freed/)
  expectCode('virsh destroy', await run('virsh destroy vm && virsh undefine vm'), 0)
  expectSame('the functions after it', (await run(functionsOfCard)).stdout, seen)
  expectDrivers(await driversOf(guest), { ...onVfio, [card]: 'igb' })
}

/** libvirt makes folders of its own when it is first started. */
const withoutLibvirt = (text: string) => text.replace(/^.*libvirt.*\n/gm, '')

const functionsOfCard = 'ip link show enp4s0 | grep " vf "'

/** A host on which tune-host was applied, its disk, and what was in /etc before. */
async function withFunctions(lab: Lab, on: Machine): Promise<{ host: Guest; disk: Disk; before: string }> {
  const { disk, before } = await systemdDisk(lab, libvirtPrograms)
  const host = await lab.start(on, disk)
  await lab.step('made at once, where they were predicted', async () => {
    const applied = await host.run(`tune-host ${wanted} --apply`, { seconds: 300 })
    expectCode('tune-host --vfs', applied, 0, /Predicted: 0000:04:10\.0 to 0000:04:10\.6/)
    const again = await host.run(`tune-host ${wanted} --apply`, { seconds: 300 })
    expectCode('a second time', again, 0, /^Nothing to do/m)
    expectProbedByIgb(await expectMade(host), 1)
  })
  return { host, disk, before }
}

export const networkFunctions: Scenario = {
  name: 'network-functions',
  about: 'virtual functions of a network card (igb): at once, after a reload, after a boot; a guest has one; undo',
  async run(lab) {
    const { host: guest, disk, before } = await withFunctions(lab, machine)
    const seen = (await guest.run(functionsOfCard)).stdout
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
    await lab.step('the same after the boot; the card never left its driver', async () => {
      expectProbedByIgb(await expectMade(guest), 1)
      expectSame('the functions', (await guest.run(functionsOfCard)).stdout, seen)
    })
    await lab.step('a guest has one, with its address and VLAN; given back as it was', () =>
      expectGuestHasOne(guest, seen),
    )
    await lab.step('undone', async () => {
      const undo = `tune-host --undo --apply >out/undo && cat /sys/bus/pci/devices/${card}/sriov_numvfs`
      expectCode('tune-host --undo', await guest.run(undo, { seconds: 300 }), 0, /^0\n/)
      const drivers = await driversOf(guest)
      expectDrivers(drivers, { [card]: 'igb' })
      const left = functions.filter((address) => drivers.driver.has(address))
      if (left.length > 0) throw new LabError(`still there: ${left.join(' ')}`)
    })
    await guest.end()
    const after = (await disk.apply('/etc listed', listing)).stdout
    expectSame('/etc after the undo', withoutLibvirt(after), withoutLibvirt(before))
  },
}

/** A second function for the host's own igbvf, in the VLAN of the first, and what the guest boots: a kernel that pings. */
const neighbours = `set -e
vf=0000:04:10.2
ip link set enp4s0 vf 1 vlan 100
echo $vf >/sys/bus/pci/drivers/vfio-pci/unbind
echo >/sys/bus/pci/devices/$vf/driver_override
modprobe igbvf
[ -e /sys/bus/pci/devices/$vf/driver ] || echo $vf >/sys/bus/pci/drivers_probe
udevadm settle
own=$(ls /sys/bus/pci/devices/$vf/net)
ip addr add 198.51.100.1/24 dev $own
ip link set $own up
mkdir -p tree/bin tree/dev tree/proc tree/sys
cp /bin/busybox tree/bin/
cp "$(modinfo -n igbvf)" tree/igbvf.ko
cat >tree/init <<'EOF'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
echo "GUEST up after $(cat /proc/uptime)" >/dev/ttyS0
insmod /igbvf.ko
ip addr add 198.51.100.2/24 dev eth0; ip link set eth0 up
while :; do ping -c 1 -W 5 198.51.100.1 >/dev/ttyS0 2>&1; sleep 2; done
EOF
chmod 755 tree/init
(cd tree && find . | busybox cpio -o -H newc | gzip -1 >/var/lib/libvirt/images/initrd)
cp /boot/vmlinuz-$(uname -r) /var/lib/libvirt/images/vmlinuz`

const kernelOfGuest = [
  ...['kernel>/var/lib/libvirt/images/vmlinuz</kernel', 'initrd>/var/lib/libvirt/images/initrd</initrd'],
  'cmdline>console=ttyS0 quiet mitigations=off</cmdline',
]
const booted = `-e 's|</os>|${kernelOfGuest.map((one) => `<${one}>`).join('')}</os>|' -e "s|<console type='pty'/>|<serial type='file'><source path='/var/log/guest.txt'/></serial>|"`

export const networkFrame: Scenario = {
  name: 'network-functions-frame',
  about: 'a guest that boots with a function of a network card: a frame of it arrives at another one, on igbvf',
  slow: true,
  async run(lab) {
    const { host } = await withFunctions(lab, { ...machine, memory: 3072 })
    const seen = (await host.run(functionsOfCard)).stdout
    for (const boot of ['a boot', 'a second boot']) {
      await host.reboot()
      await lab.step(`the same after ${boot}`, async () => {
        await expectMade(host)
        expectSame('the functions', (await host.run(functionsOfCard)).stdout, seen)
      })
    }
    await lab.step('another one on igbvf', async () =>
      expectCode('igbvf', await host.run(neighbours, { seconds: 300 }), 0),
    )
    await lab.step('a guest is started', async () => {
      expectCode('gen-domain --vf', await host.run(defined('256M', booted), { seconds: 300 }), 0)
      expectCode('virsh start', await host.run('virsh start vm', { seconds: 600 }), 0)
    })
    await lab.step('it has its answer, and the host too', async () => {
      const wait = `for i in $(seq 300); do grep -q 'bytes from' /var/log/guest.txt && break; sleep 5; done
cat /var/log/guest.txt; busybox ping -c 3 198.51.100.2; ip neigh show 198.51.100.2; ip -s link show "$(ls /sys/bus/pci/devices/0000:04:10.2/net)"`
      const looked = await host.run(wait, { seconds: 1700 })
      lab.note(looked.stdout.trim().split('\n').slice(-12).join(' | '))
      const both = /bytes from 198\.51\.100\.1[\s\S]*bytes from 198\.51\.100\.2[\s\S]*lladdr 52:54:00:aa:00:01/
      expectCode('the frames', looked, 0, both)
    })
    await host.end()
  },
}
