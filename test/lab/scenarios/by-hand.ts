import { type Drivers, driversOf, expectDrivers, expectNeverProbed, expectSame } from '../expect.ts'
import type { Generator } from '../images.ts'
import { amd, grub, intel, type Machine } from '../machines.ts'
import type { Lab, Scenario } from '../scenario.ts'

// The persistence path, proven with a change made by hand: the radeon card by its ID, one of two equal network cards by
// its address, before any host driver. It runs in the guest too, where $ROOT is empty and in_root is no chroot.

const radeon = '0000:01:00.0'
const nic = '0000:04:00.0'

const override = `#!/bin/sh
PREREQ=""
[ "$1" = prereqs ] && exit 0
(
/sbin/modprobe vfio-pci
echo vfio-pci >/sys/bus/pci/devices/${nic}/driver_override
echo ${nic} >/sys/bus/pci/drivers_probe
)
`

const regenerate: Record<Generator, string> = {
  'initramfs-tools': 'in_root update-initramfs -u -k "$KERNEL"; in_root update-grub',
  dracut: 'in_root dracut --force --kver "$KERNEL"; in_root update-grub',
}

const bind: Record<Generator, string> = {
  // init-top scripts without PREREQ run in byte order: this one before "udev"
  'initramfs-tools': `echo vfio_pci >>"$ROOT/etc/initramfs-tools/modules"
script=$ROOT/etc/initramfs-tools/scripts/init-top/00-by-hand
printf '%s' '${override}' >"$script"
chmod 755 "$script"`,
  dracut: `echo 'add_drivers+=" vfio_pci " add_dracutmodules+=" by-hand "' >"$ROOT/etc/dracut.conf.d/by-hand.conf"
module=$ROOT/usr/lib/dracut/modules.d/95by-hand
mkdir "$module"
printf '%s' '${override}' >"$module/override.sh"
cat >"$module/module-setup.sh" <<'END'
#!/bin/bash
check() { return 255; }
install() { inst_hook pre-udev 00 "$moddir/override.sh"; inst_simple /etc/modprobe.d/by-hand.conf; }
END`,
}

const modprobe = `printf 'options vfio-pci ids=1002:5159\\nsoftdep radeon pre: vfio-pci\\n' >"$ROOT/etc/modprobe.d/by-hand.conf"`

const unbind: Record<Generator, string> = {
  'initramfs-tools': `rm "$ROOT/etc/initramfs-tools/scripts/init-top/00-by-hand"
sed -i '/^vfio_pci$/d' "$ROOT/etc/initramfs-tools/modules"`,
  dracut: `rm -r "$ROOT/etc/dracut.conf.d/by-hand.conf" "$ROOT/usr/lib/dracut/modules.d/95by-hand"`,
}

const listing = `(cd "$ROOT/etc" && find . ! -type d -printf '%p %m %U:%G %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)`

export function change(generator: Generator): { apply: string; undo: string } {
  return {
    apply: `${modprobe}\n${bind[generator]}\n${regenerate[generator]}`,
    undo: `rm "$ROOT/etc/modprobe.d/by-hand.conf"\n${unbind[generator]}\n${regenerate[generator]}`,
  }
}

export function expectBound(drivers: Drivers): void {
  expectDrivers(drivers, { [radeon]: 'vfio-pci', [nic]: 'vfio-pci' })
  expectNeverProbed(drivers, radeon, 'radeon')
  expectNeverProbed(drivers, nic, 'e1000e')
  // the other functions, and the twins
  expectDrivers(drivers, { '0000:01:00.1': 'snd_hda_intel', '0000:05:00.0': 'e1000e', '0000:0c:00.0': 'e1000e' })
  expectDrivers(drivers, { '0000:02:00.0': 'bochs-drm', '0000:03:00.0': 'bochs-drm', '0000:06:00.0': 'nvme' })
}

export function expectUnbound(drivers: Drivers): void {
  expectDrivers(drivers, { [radeon]: 'radeon', [nic]: 'e1000e', '0000:05:00.0': 'e1000e' })
}

async function persist(lab: Lab, machine: Machine, generator: Generator): Promise<void> {
  const { apply, undo } = change(generator)
  const disk = await lab.disk(generator)
  const before = await disk.apply('/etc listed', listing)
  await disk.apply(`bound by hand, ${generator}`, apply)
  const bound = await lab.start(machine, disk)
  await lab.step('on vfio-pci, never probed by a host driver, twins untouched', async () => {
    expectBound(await driversOf(bound))
  })
  await bound.end()
  await disk.apply('taken back', undo)
  const after = await disk.apply('/etc listed', listing)
  expectSame('/etc after the undo', after.stdout, before.stdout)
  const unbound = await lab.start(machine, disk)
  await lab.step('back on their host drivers', async () => expectUnbound(await driversOf(unbound)))
}

function scenario(machine: Machine, generator: Generator, slow: boolean): Scenario {
  const name = `by-hand-${machine.iommu}-${machine.boot}${generator === 'dracut' ? '-dracut' : ''}`
  const about = `persistence path: ${generator}, GRUB by ${machine.boot.toUpperCase()}; bind, boot, look, undo, boot, look`
  return { name, about, slow, run: (lab) => persist(lab, machine, generator) }
}

export const byHand: readonly Scenario[] = [
  scenario(grub(intel, 'bios'), 'initramfs-tools', false),
  scenario(grub(amd, 'uefi'), 'initramfs-tools', false),
  scenario(grub(intel, 'uefi'), 'dracut', true),
  scenario(grub(amd, 'bios'), 'dracut', true),
]

export const byHandInGuest: Scenario = {
  name: 'by-hand-in-guest',
  about: 'the whole loop inside the guest: bind, reboot, look, undo, reboot, look',
  slow: true,
  async run(lab) {
    const { apply, undo } = change('initramfs-tools')
    const here = 'ROOT= KERNEL=$(uname -r); in_root() { "$@"; }; set -e\n'
    const guest = await lab.start(grub(intel, 'bios'))
    await lab.step('bound in the guest', () => guest.run(here + apply, { seconds: 1500 }))
    await lab.step('rebooted', () => guest.reboot())
    await lab.step('on vfio-pci, never probed by a host driver', async () => expectBound(await driversOf(guest)))
    await lab.step('taken back in the guest', () => guest.run(here + undo, { seconds: 1500 }))
    await lab.step('rebooted', () => guest.reboot())
    await lab.step('back on their host drivers', async () => expectUnbound(await driversOf(guest)))
  },
}
