import type { Kernel } from '../contents.ts'
import { driversOf, expectCode, expectDrivers } from '../expect.ts'
import { grub, intel, type Machine } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { append } from './bind-vfio.ts'
import { libvirtPrograms, plainProgram, underLibvirt } from './gen-domain.ts'

// Kernels as other distributions build them, and libvirt and QEMU that are as new: simpledrm on the boot display, guests by
// iommufd, and a kernel that has no VFIO groups at all.

const machine: Machine = { ...grub(intel, 'uefi'), displays: 1, memory: 2048 }
const rest = '--name vm --guest linux --memory 128M --network none --headless --firmware bios'
/** The only display, on which the firmware draws, with its sound; and a network card. */
const display = '00:06'
const nic = '00:08'

/** A user of the group kvm, and devices that she may give to her QEMU, by group or by device. */
const asUser = (options: string): string => `
useradd -m -G kvm ann
cd /home/ann
${plainProgram(`${rest} --pci ${nic} ${options}`)}
chown ann: vm.sh qemu
su ann -c 'QEMU=$PWD/qemu sh vm.sh -daemonize -pidfile pid'
ls -l /proc/$(cat pid)/fd | grep -oE '/dev/vfio/(devices/vfio)?[0-9]+$'`

function ownKernel(kernel: Exclude<Kernel, 'debian'>): Scenario {
  const grouped = kernel !== 'no-groups'
  const options = grouped ? '--iommufd' : ''
  const device = /^\/dev\/vfio\/devices\/vfio\d+$/m
  return {
    name: `kernel-${kernel}`,
    slow: true,
    about: `simpledrm on the boot display, guests by iommufd${grouped ? ', libvirt 12 and QEMU 11' : ' and QEMU 11, no VFIO groups'}, on a kernel of one's own`,
    async run(lab) {
      const { folder } = await lab.capture(machine, 'list-iommu')
      const disk = await lab.disk(`sid/initramfs-tools/grub/${kernel}`, libvirtPrograms)
      const line = 'drm_kms_helper.fbdev_emulation=1 module_blacklist=bochs'
      await disk.apply('no driver for the display', append(line))
      const before = await lab.start(machine, disk)
      const run = (guest: typeof before, script: string) => guest.run(`set -e\n${script}`, { seconds: 900 })
      await lab.step('simpledrm has the boot display, and check-host says so', async () => {
        const said = await before.run(`cat /sys/class/graphics/fb0/name; check-host --device ${display}`, {
          seconds: 120,
        })
        expectCode('check-host', said, 1, /^simpledrm[\s\S]*framebuffer holds the card\n[\s\S]*: simpledrm/m)
      })
      await lab.step('its text console keeps it from being taken', async () => {
        const said = await before.run(`bind-vfio ${display} --now`, { seconds: 120 })
        expectCode('bind-vfio --now', said, 2, /console.*00:06\.0/s)
      })
      await before.end()

      const env = { CAPTURE: folder }
      const forced = '--force only-gpu --force boot-vga --force console'
      const bind = `bind-vfio --root "$ROOT" --machine "$CAPTURE" ${display} ${forced} --apply`
      await disk.apply('the boot display bound', bind, env)
      const tune = 'tune-host --root "$ROOT" --machine "$CAPTURE" --vfio-group kvm --apply'
      await disk.apply('/dev/vfio for the group kvm', tune, env)
      const host = await lab.start(machine, disk)
      await lab.step('on vfio-pci, and simpledrm has gone', async () => {
        expectDrivers(await driversOf(host), {
          '0000:00:06.0': 'vfio-pci',
          '0000:00:06.1': 'vfio-pci',
          '0000:00:08.0': 'e1000e',
        })
        expectCode('/proc/iomem', await host.run('grep -c simpledrm /proc/iomem'), 1, /^0$/m)
      })
      await lab.step('check-host finds what guests need', async () => {
        const said = await host.run(`check-host --device ${display} --json`, { seconds: 120 })
        const { findings } = JSON.parse(said.stdout) as { findings: { code: string; state: string }[] }
        const wanted = findings.filter(({ code }) => /^(framebuffer|vfio-modules|iommu)$/.test(code))
        // libvirt is here.
        const right = (code: string) => (code === 'vfio-modules' && !grouped ? 'problem' : 'ok')
        if (wanted.length !== 3 || wanted.some(({ code, state }) => state !== right(code)))
          throw new LabError(said.stdout)
      })
      if (grouped)
        await lab.step('a guest under libvirt', async () =>
          expectCode('it', await run(host, underLibvirt(`${rest} --pci ${nic} ${options}`)), 0, device),
        )
      else
        await lab.step('libvirt would start no guest, and gen-domain says so', async () => {
          const asked = `gen-domain ${rest} --pci ${nic}`
          expectCode('gen-domain', await host.run(asked, { seconds: 120 }), 2, /no VFIO groups.*--format qemu/)
          const all = await run(host, underLibvirt(`${rest} --pci ${nic} --iommufd`))
          expectCode('libvirt', all, 1, /VFIO PCI device assignment is not supported by the host/)
        })
      await lab.step('bind-vfio --now names the node', async () => {
        const said = await run(host, `bind-vfio ${nic} --now --apply; ls /dev/vfio`)
        expectCode(
          'it',
          said,
          0,
          grouped ? /gets it as \/dev\/vfio\/\d+/ : /node in \/dev\/vfio\/devices[\s\S]*^devices$/m,
        )
      })
      await lab.step('a guest of somebody in the group kvm', async () =>
        expectCode('it', await run(host, asUser(options)), 0, device),
      )
      await lab.step('its card is not taken away', async () => {
        const said = await host.run('bind-vfio --now --undo --apply', { seconds: 120 })
        expectCode('--undo', said, 2, /\/dev\/vfio\/devices\/vfio\d+ is open in qemu/)
      })
      await lab.step('when it is gone, it is', async () => {
        const said = await run(host, 'kill $(cat /home/ann/pid); sleep 2; bind-vfio --now --undo --apply')
        expectCode('--undo', said, 0)
        expectDrivers(await driversOf(host), { '0000:00:08.0': 'e1000e' })
      })
      await lab.step('tune-host --status', async () =>
        expectCode('it', await host.run('tune-host --status', { seconds: 120 }), 0, /in force|in-force/),
      )
      await host.end()
    },
  }
}

export const ownKernels: readonly Scenario[] = [ownKernel('iommufd'), ownKernel('no-groups')]
