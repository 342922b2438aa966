import { type Contents, type Loader, parseContents } from '../contents.ts'
import { type Drivers, driversOf, expectCode, expectDrivers, expectNeverProbed, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { amd, grub, intel, type Machine } from '../machines.ts'
import type { Disk, Lab, Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'

// A graphics card with its audio, an NVMe drive, a USB controller, one of a bridge's group of three, and the twin of another of that group.
const chosen = '01:00 06:00 07:00 09:01 00:04'
const bound: Record<string, string> = {
  '0000:01:00.0': 'radeon',
  '0000:01:00.1': 'snd_hda_intel',
  '0000:06:00.0': 'nvme',
  '0000:07:00.0': 'xhci_hcd',
  '0000:09:01.0': 'e1000',
  '0000:09:02.0': 'snd_intel8x0',
}
/** Nobody had them before. */
const driverless = ['0000:00:04.0', '0000:09:03.0']
const others = {
  '0000:02:00.0': 'bochs-drm',
  '0000:02:00.1': 'snd_hda_intel',
  '0000:03:00.0': 'bochs-drm',
  '0000:04:00.0': 'e1000e',
  '0000:05:00.0': 'e1000e',
  '0000:0c:00.0': 'e1000e',
}

export const listing = `(cd "$ROOT" && { find usr/lib/dracut -path '*vfio*' 2>/dev/null || :; }; { [ ! -d boot/efi/loader ] || find boot/efi/loader/entries -type f -exec sha256sum {} + | sort; }; cd etc && find . -printf '%p %y %m %U:%G %l\\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum)`
const apply = `bind-vfio --root "$ROOT" --machine "$CAPTURE" ${chosen} --iommu-pt --apply`

function expectBound(drivers: Drivers): void {
  if (!/(^| )iommu=pt( |$)/.test(drivers.commandLine)) throw new LabError(`no iommu=pt: ${drivers.commandLine}`)
  expectDrivers(
    drivers,
    Object.fromEntries([...Object.keys(bound), ...driverless].map((address) => [address, 'vfio-pci'])),
  )
  for (const [address, driver] of Object.entries(bound)) expectNeverProbed(drivers, address, driver)
  expectDrivers(drivers, others)
}

function expectUnbound(drivers: Drivers): void {
  expectDrivers(drivers, { ...bound, ...others })
  expectDrivers(drivers, Object.fromEntries(driverless.map((address) => [address, ''])))
}

async function status(guest: Guest, code: number, says: RegExp): Promise<void> {
  expectCode('bind-vfio --status', await guest.run('bind-vfio --status', { seconds: 600 }), code, says)
}

/** Appends to the kernel line of grub.cfg, as a person does with the editor of GRUB's menu. */
export const append = (text: string): string =>
  `sed -i 's|^\\(\\tlinux\\t.*\\)$|\\1 ${text}|' "$ROOT/boot/grub/grub.cfg"`

/** Takes iommu=pt out of the kernel line, whatever starts the kernel. */
const withoutPt: Record<Loader, string> = {
  grub: `sed -i 's/ iommu=pt//' "$ROOT/etc/default/grub"; in_root update-grub`,
  'systemd-boot': `sed -i 's/ iommu=pt//' "$ROOT/etc/kernel/cmdline" "$ROOT"/boot/efi/loader/entries/*.conf`,
  uki: `sed -i 's/ iommu=pt//' "$ROOT/etc/kernel/cmdline"; in_root kernel-install add "$KERNEL" "/boot/vmlinuz-$KERNEL"`,
}

async function applied(
  lab: Lab,
  machine: Machine,
  contents: Contents,
): Promise<{ disk: Disk; env: Record<string, string>; before: string }> {
  const { folder } = await lab.capture(machine, 'list-iommu')
  const env = { CAPTURE: folder }
  const disk = await lab.disk(contents)
  // So that a kernel argument has to be added; the emulated AMD-Vi needs it from the start.
  if (machine.iommu === 'intel') await disk.apply('iommu=pt taken out', withoutPt[parseContents(contents).loader])
  const before = await disk.apply('/etc listed', listing)
  await disk.apply('bind-vfio --apply', apply, env)
  await disk.apply('a second time changes nothing', `${apply} | grep -q '^Nothing to do'`, env)
  return { disk, env, before: before.stdout }
}

/** Apply, boot, status, undo, and where `again` a boot after it: on one machine. */
async function loop(lab: Lab, machine: Machine, contents: Contents, again: boolean): Promise<void> {
  const { disk, before } = await applied(lab, machine, contents)
  const guest = await lab.start(machine, disk)
  await lab.step('on vfio-pci, never probed by a host driver, all others as before', async () =>
    expectBound(await driversOf(guest)),
  )
  await lab.step('--status is 0', () => status(guest, 0, /^bind-vfio: bound/m))
  await guest.end()
  await disk.apply('undone', 'bind-vfio --root "$ROOT" --undo --apply')
  expectSame('/etc after the undo', (await disk.apply('/etc listed', listing)).stdout, before)
  if (!again) return
  const unbound = await lab.start(machine, disk)
  await lab.step('back on their host drivers', async () => expectUnbound(await driversOf(unbound)))
  await lab.step('--status says none', () => status(unbound, 1, /^bind-vfio: nothing is set up/m))
}

/** What a scenario's name says of a disk that is not the usual one. */
const nameOf = (contents: Contents): string => `-${contents}`.replaceAll('/', '-').replace('-initramfs-tools', '')

function loopOf(machine: Machine, contents: Contents, { slow = true, again = true } = {}): Scenario {
  const name = `bind-vfio-${machine.iommu}-${machine.boot}${nameOf(contents)}`
  const { loader } = parseContents(contents)
  const by = loader === 'grub' ? `GRUB by ${machine.boot.toUpperCase()}` : loader
  const about = `bind-vfio, ${contents}, ${by}: apply, boot, status, undo${again ? ', boot' : ''}`
  return { name, about, slow, run: (lab) => loop(lab, machine, contents, again) }
}

const escapeHatch: Scenario = {
  name: 'bind-vfio-escape-hatch',
  slow: true,
  about: 'an empty vfio-pci.ids= at the end of the kernel line boots once without the binding',
  async run(lab) {
    const machine = grub(intel, 'bios')
    const { disk } = await applied(lab, machine, 'initramfs-tools')
    await disk.apply('the line edited in the menu', append('vfio-pci.ids= vfio_scripts.override=off'))
    const guest = await lab.start(machine, disk)
    await lab.step('on their host drivers', async () => expectDrivers(await driversOf(guest), { ...bound, ...others }))
    await lab.step('--status says what differs', () => status(guest, 1, /^bind-vfio: drifted/m))
  },
}

const laterKernel =
  'rm "$ROOT/boot/initrd.img-$KERNEL"; in_root run-parts --exit-on-error --arg="$KERNEL" --arg="/boot/vmlinuz-$KERNEL" /etc/kernel/postinst.d'

const newKernel: Scenario = {
  name: 'bind-vfio-new-kernel',
  slow: true,
  about:
    'a kernel installed after apply is bound too; undo.sh from a shell without Node; one installed after that is not',
  async run(lab) {
    const machine = grub(amd, 'uefi')
    const { disk, before } = await applied(lab, machine, 'initramfs-tools')
    await disk.apply("the kernel package's hooks", laterKernel)
    const guest = await lab.start(machine, disk)
    await lab.step('on vfio-pci, never probed by a host driver', async () => expectBound(await driversOf(guest)))
    await guest.end()
    const undo =
      'PATH=/usr/sbin:/usr/bin:/sbin:/bin; ! command -v node >/dev/null || PATH=/usr/sbin:/sbin:/bin; sh "$ROOT"/var/lib/vfio-scripts/0001/undo.sh "$ROOT"'
    await disk.apply('undo.sh', undo)
    expectSame('/etc after undo.sh', (await disk.apply('/etc listed', listing)).stdout, before)
    await disk.apply("the kernel package's hooks", laterKernel)
    const unbound = await lab.start(machine, disk)
    await lab.step('back on their host drivers', async () => expectUnbound(await driversOf(unbound)))
  },
}

const live: Scenario = {
  name: 'bind-vfio-now',
  about: '--now and its undo on a network card, the radeon card and the NVMe drive',
  async run(lab) {
    const guest = await lab.start(intel)
    const before = await driversOf(guest)
    await lab.step('taken', async () => {
      expectCode(
        '--now',
        await guest.run('bind-vfio 04:00 01:00 06:00 --now --apply', { seconds: 300 }),
        0,
        /\/dev\/vfio\/\d+/,
      )
    })
    await lab.step('on vfio-pci, the twin as before', async () => {
      const now = await driversOf(guest)
      const taken = {
        '0000:04:00.0': 'vfio-pci',
        '0000:01:00.0': 'vfio-pci',
        '0000:01:00.1': 'vfio-pci',
        '0000:06:00.0': 'vfio-pci',
      }
      expectDrivers(now, { ...taken, '0000:05:00.0': 'e1000e', '0000:02:00.0': 'bochs-drm' })
      expectCode('/dev/vfio', await guest.run('ls /dev/vfio'), 0, /\d+\n\d+\n\d+/)
    })
    await lab.step('released', async () => {
      expectCode('--now --undo', await guest.run('bind-vfio --now --undo --apply', { seconds: 300 }), 0)
      expectCode('overrides', await guest.run('cat /sys/bus/pci/devices/*/driver_override | grep -v "^(null)$"'), 1)
    })
    await lab.step('every driver as before', async () => {
      expectDrivers(await driversOf(guest), Object.fromEntries(before.driver))
    })
    await lab.step('a drive in use is refused', async () => {
      const mounted = 'mkfs.ext4 -q /dev/nvme0n1 && mount /dev/nvme0n1 /mnt && bind-vfio 06:00 --now --apply'
      expectCode('--now', await guest.run(mounted, { seconds: 120 }), 2, /storage.*\/mnt/s)
    })
  },
}

const inGuest: Scenario = {
  name: 'bind-vfio-in-guest',
  about: 'the whole loop inside the guest: apply, reboot, status, undo, reboot',
  slow: true,
  async run(lab) {
    const guest = await lab.start(grub(amd, 'bios'))
    const run = async (command: string, code: number) =>
      expectCode(command, await guest.run(command, { seconds: 1500 }), code)
    await lab.step('applied', () => run(`bind-vfio ${chosen} --iommu-pt --apply`, 0))
    await lab.step('--status before the reboot', () => status(guest, 1, /^bind-vfio: reboot-needed/m))
    await lab.step('rebooted', () => guest.reboot())
    await lab.step('on vfio-pci, never probed by a host driver', async () => expectBound(await driversOf(guest)))
    await lab.step('undone', () => run('bind-vfio --undo --apply', 0))
    await lab.step('rebooted', () => guest.reboot())
    await lab.step('back on their host drivers', async () => expectUnbound(await driversOf(guest)))
  },
}

export const bindVfio: readonly Scenario[] = [
  // Its boots are the longest; one after an undo, with dracut, is in those below.
  loopOf(grub(amd, 'uefi'), 'dracut', { slow: false, again: false }),
  loopOf(grub(intel, 'bios'), 'initramfs-tools', { slow: false }),
  newKernel,
  escapeHatch,
  live,
  inGuest,
  loopOf(grub(intel, 'uefi'), 'initramfs-tools'),
  loopOf(grub(amd, 'bios'), 'initramfs-tools'),
  loopOf(grub(intel, 'bios'), 'dracut'),
  loopOf(grub(intel, 'uefi'), 'dracut'),
  loopOf(grub(amd, 'bios'), 'dracut'),
  loopOf(grub(amd, 'uefi'), 'initramfs-tools'),
  loopOf(grub(intel, 'uefi'), 'trixie/initramfs-tools'),
  loopOf(grub(intel, 'bios'), 'trixie/dracut'),
  loopOf(grub(intel, 'uefi'), 'trixie/initramfs-tools/systemd-boot'),
  loopOf(grub(intel, 'uefi'), 'trixie/dracut/systemd-boot'),
  loopOf(grub(intel, 'uefi'), 'trixie/dracut/uki'),
  loopOf(grub(amd, 'uefi'), 'sid/dracut'),
]
