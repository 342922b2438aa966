import { expectCode } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { grub, intel, type Machine } from '../machines.ts'
import type { Disk, Lab, Scenario } from '../scenario.ts'
import { append } from './bind-vfio.ts'
import { emulation } from './gen-domain.ts'
import { systemdDisk } from './tune-host.ts'

// A card handed over to a guest and back: systemd, AppArmor and libvirt as Debian starts them, a greeter that draws on the
// display by its DRM driver, the text console on its frame buffer, and a service that holds its sound device.

const programs = [
  ...['apparmor', 'libvirt-daemon-system', 'libvirt-clients', 'libvirt-daemon-driver-qemu'],
  ...['qemu-system-x86', 'qemu-utils', 'seabios', 'greetd', 'weston', 'alsa-utils', 'dbus', 'libpam-systemd'],
]

const desktop: Machine = { ...grub(intel, 'bios'), displays: 1, memory: 2048, cpus: 2 }

const settings = `
cat >"$ROOT/etc/greetd/config.toml" <<'END'
[terminal]
vt = 7
[default_session]
command = "weston --backend=drm-backend.so --use-pixman --idle-time=0 --log=/var/tmp/weston.log"
user = "_greetd"
END
cat >"$ROOT/etc/systemd/system/mixer.service" <<'END'
[Unit]
Description=Holds the sound device
[Service]
ExecStart=/usr/sbin/alsactl monitor
Restart=no
[Install]
WantedBy=multi-user.target
END
in_root systemctl enable mixer.service greetd.service
in_root systemctl set-default graphical.target
`

async function desktopDisk(lab: Lab): Promise<Disk> {
  const { disk } = await systemdDisk(lab, programs)
  await disk.apply('a desktop', settings)
  await disk.apply('its kernel arguments', append('apparmor=1 security=apparmor drm_kms_helper.fbdev_emulation=1'))
  return disk
}

const look = `for f in 00:06.0 00:06.1; do echo "$f $(basename "$(readlink /sys/bus/pci/devices/0000:$f/driver)")"; done
for v in /sys/class/vtconsole/*; do echo "\${v##*/} $(cat $v/bind) $(cat $v/name)"; done
for u in greetd mixer libvirtd; do echo "$u $(systemctl is-active $u)"; done
fuser -v /dev/dri/* /dev/snd/* 2>&1
loginctl list-sessions --no-legend
tail -5 /var/tmp/weston.log
ls -l /etc/systemd/system/display-manager.service
hand-over vm 00:06`

const define = `set -e
gen-domain --name vm --guest linux --memory 128M --network none --headless --firmware bios >vm.xml
sed ${emulation} vm.xml >emulated.xml
virsh define emulated.xml`

export const handOver: Scenario = {
  name: 'hand-over',
  about: 'the only GPU goes to a guest and comes back: the picture, the console, the greeter, the sound',
  async run(lab) {
    const disk = await desktopDisk(lab)
    const guest: Guest = await lab.start(desktop, disk)
    await lab.step('the guest is defined', async () =>
      expectCode('define', await guest.run(define, { seconds: 300 }), 0),
    )
    const ran = await guest.run(look, { seconds: 120 })
    lab.note(ran.stdout + ran.stderr)
    const screen = await guest.screen('first')
    lab.note(`${screen.width}x${screen.height} lit ${screen.lit}`)
    await lab.step('rehearsed', async () => {
      const result = await guest.run('hand-over vm 00:06 --rehearse --apply; journalctl -b --no-pager | tail -60', {
        seconds: 300,
      })
      lab.note(result.stdout + result.stderr)
    })
    const again = await guest.screen('first')
    lab.note(`${again.width}x${again.height} lit ${again.lit}`)
    await guest.end()
  },
}
