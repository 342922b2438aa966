import { driversOf, expectCode, expectDrivers } from '../expect.ts'
import { grub, intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { append } from './bind-vfio.ts'
import { emulation } from './gen-domain.ts'
import { systemdDisk } from './tune-host.ts'

// AppArmor and libvirt as Debian starts them: systemd is PID 1, and nothing is written to qemu.conf. There is no KVM, so
// the guest's guest is emulated; all else is as it was printed.

const programs = [
  ...['apparmor', 'libvirt-daemon-system', 'libvirt-clients', 'libvirt-daemon-driver-qemu'],
  ...['qemu-system-x86', 'qemu-utils', 'ovmf'],
]
const machine = { ...grub(intel, 'bios'), memory: 2048 }
const card = '0000:05:00.0'
const image = '/var/lib/libvirt/images/vm.qcow2'
const asked = `--name vm --guest linux --pci 05:00 --disk ${image} --memory 256M --network none --headless`

const start = `set -e
qemu-img create -q -f qcow2 ${image} 16M
gen-domain ${asked} >vm.xml
sed ${emulation} vm.xml >emulated.xml
virsh define emulated.xml
virsh start vm`

/** A card with its ROM. */
const withRom = (rom: string) => `cp /usr/share/seabios/vgabios-stdvga.bin ${rom}
gen-domain --name rom --guest linux --gpu 02:00 --rom ${rom} --memory 128M --network none --headless --firmware bios >rom.xml
sed ${emulation} rom.xml >emulated.xml
virsh undefine rom >/dev/null 2>&1
virsh define emulated.xml
virsh start rom && virsh destroy rom`

const look = `set -e
pid=$(cat /run/libvirt/qemu/vm.pid)
virsh dumpxml vm | grep -A 2 "<seclabel type='dynamic' model='apparmor'"
echo "qemu: $(tr -d '\\0' </proc/$pid/attr/current)"
aa-status >out/status
grep -c "qemu-system-x86_64 ($pid) libvirt-" out/status
ls -l /proc/$pid/fd | grep -o '/dev/vfio/[0-9]*$'
dmesg | grep 'apparmor="DENIED".*profile="libvirt-' || echo 'nothing denied'`

export const appArmor: Scenario = {
  name: 'apparmor',
  about: 'a guest with a card under AppArmor as Debian has it: QEMU is confined, has the card, and gives it back',
  slow: true,
  async run(lab) {
    const { disk } = await systemdDisk(lab, programs)
    await disk.apply('AppArmor asked for', append('apparmor=1 security=apparmor'))
    const host = await lab.start(machine, disk)
    await lab.step('libvirtd is confined', async () => {
      const confined = `cat /sys/module/apparmor/parameters/enabled
virsh uri >/dev/null
for i in $(seq 60); do pid=$(pidof libvirtd) && break; sleep 1; done
cat /proc/$pid/attr/current; virsh capabilities | grep '<model>apparmor'; ! grep '^security_driver' /etc/libvirt/qemu.conf`
      expectCode('libvirtd', await host.run(confined, { seconds: 300 }), 0, /^Y\nlibvirtd \(enforce\)\n/)
    })
    await lab.step('on its host driver', async () => expectDrivers(await driversOf(host), { [card]: 'e1000e' }))
    await lab.step('the guest starts', async () =>
      expectCode('virsh start', await host.run(start, { seconds: 600 }), 0, /started/),
    )
    await lab.step('QEMU is confined, and holds the card', async () => {
      const label =
        "<seclabel type='dynamic' model='apparmor' relabel='yes'>\\n.*<label>(libvirt-[-0-9a-f]+)</label>\\n"
      const says = new RegExp(`${label}[^]*^qemu: \\1 \\(enforce\\)\\n1\\n/dev/vfio/\\d+\\n`, 'm')
      const result = await host.run(look, { seconds: 120 })
      expectCode('the guest', result, 0, says)
      for (const line of result.stdout.trim().split('\n').slice(-8)) lab.note(`  ${line}`)
      if (!result.stdout.includes('nothing denied')) throw new LabError(`AppArmor denied: ${result.stdout}`)
    })
    await lab.step('on vfio-pci', async () => expectDrivers(await driversOf(host), { [card]: 'vfio-pci' }))
    await lab.step('given back', async () => {
      expectCode('virsh destroy', await host.run('virsh destroy vm', { seconds: 120 }), 0)
      expectDrivers(await driversOf(host), { [card]: 'e1000e' })
    })
    await lab.step('a ROM elsewhere is kept from QEMU, which gen-domain says', async () => {
      const result = await host.run(withRom('/var/lib/libvirt/images/card.rom'), { seconds: 300 })
      expectCode('virsh start', result, 1, /AppArmor keeps it from QEMU[\s\S]*failed to find romfile/)
    })
    await lab.step('and not where gen-domain says', async () => {
      const result = await host.run(`mkdir -p /usr/share/vgabios\n${withRom('/usr/share/vgabios/card.rom')}`, {
        seconds: 300,
      })
      expectCode('virsh start', result, 0, /^(?![\s\S]*AppArmor)[\s\S]*destroyed/)
    })
    await host.end()
  },
}
