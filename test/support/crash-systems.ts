// Systems whose boot files are made by programs that busybox runs: what test/support/crash.ts injects its faults into.
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Loader, MACHINE_ID, RELEASES, ROOT, ukiInstall, unifiedImage } from './loaders.ts'
import { runProgram } from './run.ts'
import { type System, systemDir } from './system.ts'

/** Programs that make boot files of the configuration, as far as these tests look at them: busybox runs them. */
const MAKER = `make() {
  {
    echo usr/lib/modules/x/vfio-pci.ko
    for one in etc/modprobe.d/* etc/initramfs-tools/hooks/* etc/dracut.conf.d/*; do [ ! -e "/$one" ] || echo "$one"; done
    [ ! -e /etc/mkinitcpio.conf ] || cat /etc/mkinitcpio.conf
  } >"$1.new" && mv "$1.new" "$1"
}`
const program = (text: string): string => `#!/bin/sh\nset -e\n${MAKER}\n${text}\n`
const LISTER = '#!/bin/sh\ncat "$1"\n'

const GRUB_CONFIG = `. /etc/default/grub
for one in /etc/default/grub.d/*.cfg; do [ ! -e "$one" ] || . "$one"; done
for image in /boot/vmlinuz-*; do
  release=\${image#/boot/vmlinuz-}
  echo "menuentry 'Debian GNU/Linux, with Linux $release' {"
  echo "	linux	/boot/vmlinuz-$release ${ROOT} ro $GRUB_CMDLINE_LINUX_DEFAULT"
  echo "	initrd	/boot/initrd.img-$release"
  echo "}"
done >/boot/grub/grub.cfg.new
mv /boot/grub/grub.cfg.new /boot/grub/grub.cfg`

/** Adds and removes arguments of the entry of a kernel. */
const GRUBBY = `for word; do
  case $word in
    --update-kernel=*) release=\${word#*vmlinuz-} ;;
    --args=*) add=\${word#--args=} ;;
    --remove-args=*) remove=\${word#--remove-args=} ;;
  esac
done
entry=/boot/loader/entries/${MACHINE_ID}-$release.conf
while read -r key rest; do
  if [ "$key" = options ]; then
    for gone in \${remove:-}; do
      kept=
      for word in $rest; do [ "$word" = "$gone" ] || kept="$kept $word"; done
      rest=\${kept# }
    done
    for new in \${add:-}; do rest="$rest $new"; done
  fi
  echo "$key $rest"
done <"$entry" >"$entry.new"
mv "$entry.new" "$entry"`

const UKI = `line=$(cat /etc/kernel/cmdline 2>/dev/null || echo '${ROOT} rw quiet')
image=/efi/EFI/Linux/${MACHINE_ID}-$2.efi
make /efi/initrd.tmp
{ cat /head.efi; printf '%-511s' "$line"; cat /efi/initrd.tmp; } >"$image.new"
rm /efi/initrd.tmp
mv "$image.new" "$image"`

const RELEASE = '6.14.7-zen1'
/** Not GRUB's timestamps, not a module: the argument goes through the boot loader, the IDs through the image. */
const base: Pick<System, 'machine' | 'iommuByDefault'> = { machine: 'i9-14900k-vmd', iommuByDefault: false }

const uki = (): Loader => ({ ...ukiInstall, kernels: RELEASES.slice(0, 1), builtin: [], iommuByDefault: false })

/** Each: the system, and the programs that make its boot files at first. */
const SYSTEMS: Record<string, { system: System; made: (readonly string[])[] }> = {
  Debian: {
    system: {
      ...base,
      kernels: [RELEASE],
      files: {
        'usr/sbin/update-initramfs': program(`# mkinitramfs\nmake "/boot/initrd.img-$3"`),
        'usr/bin/lsinitramfs': LISTER,
        'usr/sbin/update-grub': program(GRUB_CONFIG),
      },
    },
    made: [['update-initramfs', '-u', '-k', RELEASE], ['update-grub']],
  },
  'Arch Linux': {
    system: {
      ...base,
      family: 'arch',
      files: { 'usr/bin/mkinitcpio': program('make /boot/initramfs-linux.img'), 'usr/bin/lsinitcpio': LISTER },
    },
    made: [['mkinitcpio', '-p', 'linux']],
  },
  Fedora: {
    system: {
      ...base,
      family: 'fedora',
      kernels: [RELEASE],
      files: {
        'usr/bin/dracut': program('make "$2"'),
        'usr/bin/lsinitrd': LISTER,
        'usr/sbin/grubby': program(GRUBBY),
        [`boot/loader/entries/${MACHINE_ID}-${RELEASE}.conf`]: `title Fedora Linux (${RELEASE}) 43\nversion ${RELEASE}\nlinux /vmlinuz-${RELEASE}\ninitrd /initramfs-${RELEASE}.img\noptions ${ROOT} ro rhgb quiet\n`,
      },
    },
    made: [['dracut', '--force', `/boot/initramfs-${RELEASE}.img`, RELEASE]],
  },
  'kernel-install': {
    system: {
      ...base,
      ...uki(),
      files: {
        ...uki().files,
        'usr/bin/kernel-install': program(UKI),
        'usr/bin/lsinitrd': LISTER,
        'head.efi': unifiedImage(' '.repeat(510)).slice(0, 0x200),
        [`efi/EFI/Linux/${MACHINE_ID}-${RELEASES[1]}.efi`]: null,
      },
    },
    made: [['kernel-install', 'add', RELEASES[0]]],
  },
}

/** The system with a busybox for its programs, and boot files that they have made. */
export function freshSystem(name: string): string {
  const { system, made } = SYSTEMS[name] as (typeof SYSTEMS)[string]
  const dir = systemDir({ ...system, files: { 'proc/self': '', 'dev/null': '', ...system.files } })
  mkdirSync(join(dir, 'bin'), { recursive: true })
  copyFileSync('/usr/bin/busybox', join(dir, 'bin/busybox'))
  for (const one of ['sh', 'cat', 'rm', 'mv']) symlinkSync('busybox', join(dir, 'bin', one))
  for (const argv of made) {
    const ran = runProgram('chroot', [dir, ...argv], { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })
    expect(ran).toMatchObject({ code: 0 })
  }
  return dir
}

/** What may be left over is read by no program; what programs left half is made anew by the next. */
export const LEFTOVER = /^\/(\S+\/)?(\.[^/ ]+\.vfio-scripts~|[^/ ]+\.(new|tmp)) /
