import { driversOf, expectCode, expectDrivers, expectSame } from '../expect.ts'
import { grub, intel } from '../machines.ts'
import type { Disk, Lab, Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { listing } from './bind-vfio.ts'

// With systemd as PID 1, since units, timers and slices are its.

const service = `[Unit]
Description=The lab
After=multi-user.target
[Service]
ExecStart=/usr/local/sbin/lab-init
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Slice=machine.slice
[Install]
WantedBy=graphical.target
`

export const withSystemd = `
sed -i 's| init=/usr/local/sbin/lab-init||; s|quiet loglevel=3|& systemd.show_status=0|' "$ROOT/etc/default/grub"
cat > "$ROOT/etc/systemd/system/lab.service" <<'EOF'
${service}EOF
mkdir -p "$ROOT/etc/systemd/network"
printf '[Match]\\nName=enp4s0\\n\\n[Network]\\nAddress=192.0.2.5/24\\n\\n[Route]\\nGateway=192.0.2.1\\n' > "$ROOT/etc/systemd/network/20-wired.network"
in_root systemd-machine-id-setup 2>/dev/null
in_root systemctl -q enable lab.service systemd-networkd.service
in_root systemctl -q mask serial-getty@ttyS0.service systemd-networkd-wait-online.service
in_root systemctl -q mask e2scrub_reap.service getty-static.service systemd-binfmt.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
in_root systemctl -q set-default graphical.target
in_root update-grub`

const machine = { ...grub(intel, 'bios'), cpus: 4, memory: 2048 }

/** A disk whose guest has systemd as PID 1, and what is in its /etc. */
export async function systemdDisk(lab: Lab, packages: readonly string[] = []): Promise<{ disk: Disk; before: string }> {
  const disk = await lab.disk('initramfs-tools', packages)
  await disk.apply('systemd as PID 1', withSystemd)
  const { stdout } = await disk.apply('/etc listed', listing)
  return { disk, before: stdout }
}

async function captured(lab: Lab): Promise<Record<string, string>> {
  return { CAPTURE: (await lab.capture(machine, 'list-iommu')).folder }
}

const inForce: Scenario = {
  name: 'tune-host',
  about: 'huge pages, isolated CPUs, a bridge and /dev/vfio for a group are in force after the boot; undo',
  async run(lab) {
    const env = await captured(lab)
    const { disk, before } = await systemdDisk(lab)
    await disk.apply('a card bound', 'bind-vfio --root "$ROOT" --machine "$CAPTURE" 05:00 --apply', env)
    const all = '--hugepages 64M --isolate 2 --vfio-group kvm --bridge br0 --port enp4s0 --threadirqs --ignore-msrs'
    const first = await lab.start(machine, disk)
    await lab.step('--vfio-group at once, and its undo', async () => {
      const look = 'udevadm settle; stat -c "%G %a" /dev/vfio/[0-9]*'
      const script = `${look}; tune-host --vfio-group kvm --apply >out/a && ${look}; tune-host --undo --apply >out/b`
      expectCode('live', await first.run(script, { seconds: 300 }), 0, /^root 600\nkvm 660\n/)
    })
    await lab.step('the bridge of the default route wants --confirm-within', async () => {
      const refused = /refused \(no-confirm\).*enp4s0 has the default route.*--confirm-within 10m/s
      expectCode('tune-host', await first.run(`tune-host ${all} --apply`, { seconds: 300 }), 2, refused)
    })
    await lab.step('tune-host --apply', async () => {
      const forced = `tune-host ${all} --force no-confirm --apply`
      expectCode('tune-host', await first.run(forced, { seconds: 300 }), 0, /After the reboot/)
      expectCode('tune-host', await first.run(`tune-host ${all} --apply`, { seconds: 300 }), 0, /^Nothing to do/m)
    })
    await first.end()
    const guest = await lab.start(machine, disk)
    await lab.step('in force, as the kernel shows it', async () => {
      const looked = await guest.run(
        // The network comes up after the boot is done.
        'for each in $(seq 60); do ip route show default dev br0 | grep -q . && break; sleep 1; done; ' +
          'cat /proc/sys/vm/nr_hugepages /sys/devices/system/cpu/isolated; stat -c "%G %a" /dev/vfio/[0-9]*; ' +
          'cat /sys/module/kvm/parameters/ignore_msrs 2>/dev/null || modprobe -c | grep ignore_msrs; ' +
          'basename "$(readlink /sys/class/net/enp4s0/master)"; ip -br -4 addr show br0 | tr -s " "; ip route show default; ' +
          'pgrep -c "irq/" >irqs || :; [ "$(cat irqs)" -gt 5 ] && echo threads',
        { seconds: 300 },
      )
      const expected =
        /^32\n\S+\nkvm 660\n.*ignore_msrs=1.*\nbr0\nbr0 \S+ 192\.0\.2\.5\/24 *\ndefault via 192\.0\.2\.1 dev br0 .*\nthreads\n/
      expectCode('what is in force', looked, 0, expected)
      lab.note(looked.stdout.trim().replaceAll('\n', ' | '))
    })
    await lab.step('--status is 0', async () => {
      const result = await guest.run('tune-host --status', { seconds: 300 })
      expectCode('tune-host --status', result, 0, /^tune-host: in-force/m)
    })
    await guest.end()
    await disk.apply('undone', 'tune-host --root "$ROOT" --undo --apply; bind-vfio --root "$ROOT" --undo --apply')
    expectSame('/etc after the undo', (await disk.apply('/etc listed', listing)).stdout, before)
  },
}

const neverConfirmed: Scenario = {
  name: 'confirm-within',
  about: 'a binding that is never confirmed undoes itself, and the next boot is as before',
  slow: true,
  async run(lab) {
    const env = await captured(lab)
    const { disk, before } = await systemdDisk(lab)
    const apply = 'bind-vfio --root "$ROOT" --machine "$CAPTURE" 04:00 --apply --confirm-within 3m'
    await disk.apply('bind-vfio --apply --confirm-within', apply, env)
    const guest = await lab.start(machine, disk)
    await lab.step('on vfio-pci', async () => expectDrivers(await driversOf(guest), { '0000:04:00.0': 'vfio-pci' }))
    await lab.step('nobody confirms: it reboots', () => guest.gone(400))
    expectSame('/etc after that', (await disk.apply('/etc listed', listing)).stdout, before)
    const again = await lab.start(machine, disk)
    await lab.step('on its host driver', async () =>
      expectDrivers(await driversOf(again), { '0000:04:00.0': 'e1000e' }),
    )
    const status = await again.run('bind-vfio --status', { seconds: 300 })
    expectCode('bind-vfio --status', status, 1, /^bind-vfio: nothing is set up/m)
    await again.end()
    if (status.code !== 1) throw new LabError('bind-vfio --status')
  },
}

/** What waits for a confirmation, and what is applied on top of it before the boot. */
const laterChange = (name: string, first: string, second: string): Scenario => ({
  name,
  about: `${first} is never confirmed, with ${second} on top of it: all is as before`,
  slow: true,
  async run(lab) {
    const env = await captured(lab)
    const { disk, before } = await systemdDisk(lab)
    const target = '--root "$ROOT" --machine "$CAPTURE" --apply'
    await disk.apply('what waits', `${first} ${target} --confirm-within 3m`, env)
    await disk.apply('what comes on top', `${second} ${target}`, env)
    const guest = await lab.start(machine, disk)
    await lab.step('on vfio-pci', async () => expectDrivers(await driversOf(guest), { '0000:04:00.0': 'vfio-pci' }))
    await lab.step('nobody confirms: it reboots', () => guest.gone(900))
    expectSame('/etc after that', (await disk.apply('/etc listed', listing)).stdout, before)
    const again = await lab.start(machine, disk)
    await lab.step('on its host driver', async () =>
      expectDrivers(await driversOf(again), { '0000:04:00.0': 'e1000e' }),
    )
    await again.end()
  },
})

const pages = 'tune-host --hugepages 64M --page-size 2M'
const laterSetting = laterChange('confirm-later-setting', 'bind-vfio 04:00', pages)
const laterCard = laterChange('confirm-later-card', pages, 'bind-vfio 04:00')

const bridgeRollback: Scenario = {
  name: 'bridge-rollback',
  about: 'a bridge that is never confirmed undoes itself: after the next boot the card has its address again',
  slow: true,
  async run(lab) {
    const { disk, before } = await systemdDisk(lab)
    const first = await lab.start(machine, disk)
    const tune = 'tune-host --bridge br0 --port enp4s0 --apply --confirm-within 3m'
    await lab.step(tune, async () =>
      expectCode(tune, await first.run(tune, { seconds: 300 }), 0, /and the machine reboots/),
    )
    await first.end()
    const guest = await lab.start(machine, disk)
    const look =
      'for i in $(seq 30); do ip -4 -br addr | grep -q 192.0.2.5 && break; sleep 1; done; ip -4 -br addr | tr -s " "'
    await lab.step('the address is the bridge’s', async () =>
      expectCode('ip addr', await guest.run(look, { seconds: 100 }), 0, /^br0 \S+ 192\.0\.2\.5\/24/m),
    )
    await lab.step('nobody confirms: it reboots', () => guest.gone(400))
    expectSame('/etc after that', (await disk.apply('/etc listed', listing)).stdout, before)
    const again = await lab.start(machine, disk)
    await lab.step('the address is the card’s', async () =>
      expectCode('ip addr', await again.run(look, { seconds: 100 }), 0, /^enp4s0 \S+ 192\.0\.2\.5\/24/m),
    )
    await again.end()
  },
}

const confirmed: Scenario = {
  name: 'confirm-in-time',
  about: 'a binding that is confirmed after the reboot stays',
  slow: true,
  async run(lab) {
    const env = await captured(lab)
    const { disk } = await systemdDisk(lab)
    const apply = 'bind-vfio --root "$ROOT" --machine "$CAPTURE" 04:00 --apply --confirm-within 4m'
    await disk.apply('bind-vfio --apply --confirm-within', apply, env)
    const guest = await lab.start(machine, disk)
    await lab.step('confirmed', async () => {
      expectCode('--confirm', await guest.run('bind-vfio --confirm', { seconds: 200 }), 0, /confirmed/)
      const timers = await guest.run('sleep 240; systemctl list-timers --all | grep -c vfio || :', { seconds: 300 })
      expectCode('no timer is left', timers, 0, /^0$/m)
    })
    await lab.step('still bound', async () => expectDrivers(await driversOf(guest), { '0000:04:00.0': 'vfio-pci' }))
    await guest.end()
  },
}

export const tuneHost: readonly Scenario[] = [
  inForce,
  neverConfirmed,
  laterSetting,
  laterCard,
  bridgeRollback,
  confirmed,
]
