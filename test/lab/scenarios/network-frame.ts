import { expectCode, expectSame } from '../expect.ts'
import type { Scenario } from '../scenario.ts'
import { defined, expectMade, functionsOfCard, machine, withFunctions } from './network-functions.ts'

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
