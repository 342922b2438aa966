import { setTimeout as sleep } from 'node:timers/promises'
import { expectCode, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { grub, intel, type Machine } from '../machines.ts'
import type { Disk, Lab, Scenario } from '../scenario.ts'
import { alike, type Screen } from '../screen.ts'
import { LabError } from '../shell.ts'
import { append } from './bind-vfio.ts'
import { emulation } from './gen-domain.ts'
import { systemdDisk } from './tune-host.ts'

// A card handed over to a guest and back: systemd, AppArmor and libvirt as Debian starts them, a greeter that draws on the
// display by its DRM driver, the text console on its frame buffer, and a service that holds its sound device.

const programs = [
  ...['apparmor', 'libvirt-daemon-system', 'libvirt-clients', 'libvirt-daemon-driver-qemu'],
  ...['qemu-system-x86', 'qemu-utils', 'seabios', 'greetd', 'weston', 'alsa-utils', 'dbus', 'libpam-systemd'],
]

export const desktop: Machine = { ...grub(intel, 'bios'), displays: 1, memory: 2048, cpus: 2 }

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

export async function desktopDisk(lab: Lab, more: readonly string[] = []): Promise<Disk> {
  const { disk } = await systemdDisk(lab, [...programs, ...more])
  await disk.apply('a desktop', settings)
  await disk.apply('its kernel arguments', append('apparmor=1 security=apparmor drm_kms_helper.fbdev_emulation=1'))
  return disk
}

/** Who has the functions, the consoles, the units, and who has which node open: one text, equal when all is as before. */
const look = (card: string) => `
for f in ${card}.0 ${card}.1; do echo "$f $(basename "$(readlink /sys/bus/pci/devices/0000:$f/driver)")"; done
cat /sys/bus/pci/devices/0000:${card}.?/driver_override
for v in /sys/class/vtconsole/*; do echo "console $(cat $v/bind) $(cat $v/name)"; done | sort
for u in greetd mixer; do echo "$u $(systemctl is-active $u)"; done
find /proc/[0-9]*/fd '(' -lname '/dev/dri/*' -o -lname '/dev/snd/*' -o -lname '/dev/vfio/[0-9]*' ')' -printf '%h %l\n' 2>/dev/null |
  while read -r at node; do echo "open $node $(cat \${at%/fd}/comm)"; done | sort -u`

export const state = async (guest: Guest, card: string): Promise<string> => (await guest.run(look(card))).stdout

/** Waits for a picture, and until nothing changes in it. */
export async function picture(guest: Guest, id: 'first' | 'second' = 'first'): Promise<Screen> {
  let last = await guest.screen(id)
  for (let waited = 0; waited < 180; waited += 3) {
    await sleep(3000)
    const now = await guest.screen(id)
    if (now.lit > 0.5 && alike(now, last) > 0.995) return now
    last = now
  }
  throw new LabError(`the display ${id} shows no picture: ${Math.round(last.lit * 100)} % of it is not black`)
}

export function expectPicture(now: Screen, before: Screen): void {
  const share = alike(now, before)
  // The clock of the greeter may have moved on.
  if (share < 0.97) throw new LabError(`the picture is another one: ${Math.round(share * 100)} % of it is as before`)
}

const define = `set -e
for i in $(seq 60); do virsh uri >/dev/null 2>&1 && break; sleep 1; done
gen-domain --name vm --guest linux --memory 128M --network none --headless --firmware bios >vm.xml
sed ${emulation} vm.xml >emulated.xml
virsh define emulated.xml`

/** Sets it up, and gives the guest its card as the README has it. */
const setUp = (card: string) => `set -e
hand-over vm ${card} --apply
virsh dumpxml vm >vm.xml
gen-domain --patch vm.xml --gpu ${card} >new.xml
virsh define new.xml
virsh dumpxml vm | grep -c "managed='yes'"`

const etc = `find /etc ! -path '*/libvirt/qemu*' ! -path '*/apparmor.d/libvirt*' -printf '%P %m %u %l\n' -type f -exec sha256sum {} + | sort`

export const away = (card: string, group: string): RegExp =>
  new RegExp(`^${card}.0 vfio-pci\n${card}.1 vfio-pci\n[^]*open ${group} qemu-system-x86`)

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = Date.now()
  await work()
  return (Date.now() - began) / 1000
}

/** A desktop with a guest that is set up; what it shows and who has what before. */
export async function readyDesktop(lab: Lab, machine: Machine, card: string) {
  const disk = await desktopDisk(lab)
  const guest = await lab.start(machine, disk)
  await lab.step('the guest is defined', async () => expectCode('define', await guest.run(define, { seconds: 300 }), 0))
  const shown = await lab.step('the greeter shows its picture', () => picture(guest))
  const before = await state(guest, card)
  lab.note(before.trim().replaceAll('\n', ' | '))
  const files = (await guest.run(etc)).stdout
  await lab.step('hand-over --apply, and the card in the guest', async () =>
    expectCode('hand-over', await guest.run(setUp(card), { seconds: 300 }), 0, /^2$/m),
  )
  return { disk, guest, shown, before, files }
}

/** The guest starts, has the card, and stops: all is as before. */
async function inTurn(lab: Lab, guest: Guest, card: string, before: string, shown: Screen): Promise<void> {
  const to = await seconds(async () =>
    expectCode('virsh start', await guest.run('virsh start vm', { seconds: 400 }), 0, /started/),
  )
  await lab.step('it has the card', async () => {
    const now = await state(guest, card)
    if (!away(card, '/dev/vfio/\\d+').test(now)) throw new LabError(`the guest has not the card: ${now}`)
  })
  const back = await seconds(async () =>
    expectCode('virsh destroy', await guest.run('virsh destroy vm', { seconds: 400 }), 0),
  )
  await lab.step('all is back, and the picture too', async () => {
    expectPicture(await picture(guest), shown)
    expectSame('who has what', await state(guest, card), before)
  })
  lab.note(`virsh start ${to.toFixed(0)} s, virsh destroy ${back.toFixed(0)} s`)
}

/** What the program itself took for it, without the guest's own start. */
const steps = `hand-over --status; awk 'NR == 1 { first = $1 } / away$/ { printf "away after %.1f s\\n", $1 - first }
  / gives back$/ { from = $1 } / all is back$/ { printf "back after %.1f s\\n", $1 - from }' /run/vfio-scripts/hand-over/vm/log`

async function noteTimes(lab: Lab, guest: Guest): Promise<void> {
  const result = await guest.run(steps, { seconds: 120 })
  expectCode('hand-over --status', result, 0, /hand-over: in-force/)
  for (const line of result.stdout.split('\n')) if (/ after /.test(line)) lab.note(line)
}

const onlyGpu: Scenario = {
  name: 'hand-over',
  about: 'the only GPU goes to a guest and comes back: drivers, console, greeter, sound, picture; undo',
  async run(lab) {
    const { guest, shown, before, files } = await readyDesktop(lab, desktop, '00:06')
    await lab.step('away and back with the guest', async () => {
      await inTurn(lab, guest, '00:06', before, shown)
    })
    await noteTimes(lab, guest)
    await lab.step('undone', async () => {
      expectCode(
        'hand-over --undo',
        await guest.run('hand-over --undo --apply', { seconds: 120 }),
        0,
        /Taken back(?![\s\S]*Reboot)/,
      )
      expectSame('/etc after the undo', (await guest.run(etc)).stdout, files)
    })
    await guest.end()
  },
}

const rehearsal: Scenario = {
  name: 'hand-over-rehearse',
  about: 'away and back without a guest, three times; then three starts of the guest: nothing is left behind',
  slow: true,
  async run(lab) {
    const disk = await desktopDisk(lab)
    const guest = await lab.start(desktop, disk)
    await lab.step('the guest is defined', async () =>
      expectCode('define', await guest.run(define, { seconds: 300 }), 0),
    )
    const shown = await picture(guest)
    const before = await state(guest, '00:06')
    for (const time of [1, 2, 3])
      await lab.step(`rehearsed, ${time}`, async () => {
        const result = await guest.run('hand-over vm 00:06 --rehearse --apply', { seconds: 400 })
        expectCode('hand-over --rehearse', result, 0, /Away and back: all is as before/)
        expectPicture(await picture(guest), shown)
        expectSame('who has what', await state(guest, '00:06'), before)
      })
    await lab.step('nothing is set up', async () =>
      expectCode(
        'hand-over --status',
        await guest.run('hand-over --status; ls /etc/vfio-scripts', { seconds: 60 }),
        2,
        /nothing is set up/,
      ),
    )
    expectCode('hand-over', await guest.run(setUp('00:06'), { seconds: 300 }), 0)
    for (const time of [1, 2, 3])
      await lab.step(`the guest, ${time}`, async () => {
        await inTurn(lab, guest, '00:06', before, shown)
      })
    await noteTimes(lab, guest)
    await guest.end()
  },
}

const secondGpu: Scenario = {
  name: 'hand-over-second',
  about: 'a second GPU goes and comes back, and the session at the first one stays',
  slow: true,
  async run(lab) {
    const { guest, shown, before } = await readyDesktop(lab, { ...desktop, displays: 2 }, '01:00')
    const session = (await guest.run('loginctl list-sessions --no-legend')).stdout
    await lab.step('away and back with the guest', async () => {
      await inTurn(lab, guest, '01:00', before, shown)
      expectSame('the sessions', (await guest.run('loginctl list-sessions --no-legend')).stdout, session)
    })
    await noteTimes(lab, guest)
    await guest.end()
  },
}

export const handOvers: readonly Scenario[] = [onlyGpu, rehearsal, secondGpu]
