import { expectCode } from '../expect.ts'
import { intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'

/** How the image is read from the disk as it was: without replaying a journal. */
const READ = {
  xfs: 'grub-fstest $cut cat /$image',
  ext4: 'grub-fstest $cut cat /$image',
  vfat: 'MTOOLS_SKIP_CHECK=1 mcopy -i $cut ::$image -',
}

/** Moves /boot to a file system of this type in a file. */
const moved = (type: string): string => `set -e
modprobe loop
rm -rf /var/tmp/disk && truncate -s 340M /var/tmp/disk && mkfs.${type} /var/tmp/disk >/dev/null
mkdir -p /mnt/new && mount -o loop /var/tmp/disk /mnt/new
cp /boot/vmlinuz-* /boot/initrd.img-* /boot/config-* /mnt/new/ && umount /mnt/new
mount -o loop /var/tmp/disk /boot && sync`

const cutAfter = (type: keyof typeof READ, command: string): string => `set -e
image=initrd.img-$(uname -r); cut=/var/tmp/cut
before=$(sha256sum </boot/$image)
${command} && cp --sparse=always /var/tmp/disk $cut
[ "$before" != "$(sha256sum </boot/$image)" ]
${READ[type]} | sha256sum; sha256sum </boot/$image; rm -f $cut`

/** A power cut at the moment at which a run says that it is done, with /boot on a file system of its own. */
export const powerCut: Scenario = {
  name: 'power-cut',
  about: 'what is on the disk when bind-vfio says Done: the whole new initramfs, on XFS, ext4 and FAT',
  slow: true,
  async run(lab) {
    const guest = await lab.start(intel)
    for (const type of ['xfs', 'ext4', 'vfat'] as const) {
      await lab.step(`/boot on ${type}`, async () =>
        expectCode(`/boot on ${type}`, await guest.run(moved(type), { seconds: 200 }), 0),
      )
      for (const command of ['bind-vfio 04:00 --apply', 'bind-vfio --undo --apply'])
        await lab.step(`${command}, and a power cut`, async () => {
          const ran = await guest.run(cutAfter(type, command), { seconds: 900 })
          expectCode(command, ran, 0, /^([0-9a-f]{64}) .*\n\1 /m)
        })
      await guest.run('umount /boot')
    }
    await guest.end()
  },
}
