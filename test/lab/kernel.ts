import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootstrap, cached, type Say } from './cache.ts'
import type { Kernel } from './contents.ts'
import { must } from './shell.ts'

// Kernels that people have and Debian has not: its newest sources with other choices, made by the compiler of the same
// Debian in a root of its own.

const suite = 'sid'
const programs = [
  ...['linux-source', 'gcc', 'libc6-dev', 'make', 'flex', 'bison', 'bc', 'libelf-dev', 'libssl-dev', 'kmod'],
  ...['cpio', 'perl', 'python3-minimal', 'xz-utils'],
]

/** Beside the kernel's own x86_64_defconfig: what distributions have on, or what the lab looks at. */
const choices = {
  y: `HYPERVISOR_GUEST PARAVIRT KVM_GUEST PVH DEBUG_INFO_NONE DYNAMIC_DEBUG BLK_DEV_INITRD RD_ZSTD IKCONFIG IKCONFIG_PROC
    INTEL_IOMMU AMD_IOMMU IRQ_REMAP PCI_IOV VFIO_CONTAINER VFIO_DEVICE_CDEV VFIO_PCI_VGA
    DRM DRM_SIMPLEDRM SYSFB_SIMPLEFB DRM_FBDEV_EMULATION FB FRAMEBUFFER_CONSOLE VIRTIO_MENU HUGETLBFS MD`,
  m: `IOMMUFD VFIO VFIO_PCI PCI_STUB VIRTIO_PCI VIRTIO_BLK VIRTIO_CONSOLE VIRTIO_NET EXT4_FS VFAT_FS NLS_CODEPAGE_437
    NLS_ASCII EFIVAR_FS OVERLAY_FS FUSE_FS BLK_DEV_LOOP BLK_DEV_DM BLK_DEV_NVME SCSI BLK_DEV_SD ATA SATA_AHCI
    USB_XHCI_HCD USB_HID HID_GENERIC USB_STORAGE E1000 E1000E SND SND_HDA_INTEL SND_INTEL8X0 DRM_BOCHS DRM_RADEON
    KVM KVM_INTEL KVM_AMD TUN BRIDGE VHOST_NET AUTOFS_FS BINFMT_MISC FW_CFG_SYSFS`,
  n: `LOCALVERSION_AUTO WERROR FB_EFI DRM_I915 WIRELESS WLAN RFKILL MAC80211 CFG80211 NFS_FS PCCARD SECURITY_SELINUX`,
}

const configuration = (['y', 'm', 'n'] as const)
  .flatMap((value) => choices[value].split(/\s+/).map((symbol) => `CONFIG_${symbol}=${value}\n`))
  .join('')

/** Makes both, one after the other in one tree: little is different. */
const build = `set -e
cd /usr/src && tar -xf linux-source-*.tar.xz && cd linux-source-*/
make -s x86_64_defconfig
for kernel in iommufd no-groups; do
  { cat /choices; echo "CONFIG_LOCALVERSION=\\"-$kernel\\""
    if [ $kernel = no-groups ]; then echo CONFIG_VFIO_GROUP=n; else echo CONFIG_VFIO_GROUP=y; fi; } >/tmp/choices
  scripts/kconfig/merge_config.sh -m .config /tmp/choices >/dev/null
  make -s olddefconfig
  make -s -j"$(nproc)" bzImage modules
  at=/made/$kernel release=$(make -s kernelrelease)
  mkdir -p "$at/boot"
  make -s INSTALL_MOD_PATH="$at/usr" modules_install
  rm -f "$at/usr/lib/modules/$release/build"
  cp arch/x86/boot/bzImage "$at/boot/vmlinuz-$release"
  cp .config "$at/boot/config-$release"
  cp System.map "$at/boot/System.map-$release"
done`

/**
 * A folder with what such a kernel's package would have: boot and usr/lib/modules. `iommufd` has VFIO groups and the
 * device nodes for iommufd, `no-groups` the latter alone; in both, simpledrm shows the firmware's picture.
 */
export async function ownKernel(kernel: Exclude<Kernel, 'debian'>, say: Say): Promise<string> {
  const folder = await cached('kernels', { suite, programs, configuration, build }, say, async (part) => {
    const root = join(part, 'root')
    await bootstrap(suite, programs, root)
    writeFileSync(join(root, 'choices'), configuration)
    mkdirSync(join(root, 'made'))
    const enter = 'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "$1" bash -c "$2"'
    const namespace = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', enter, 'sh']
    await must([...namespace, root, build], { seconds: 3 * 3600 })
    await must(['sh', '-c', 'mv "$1"/root/made/* "$1" && rm -r "$1/root"', 'sh', part])
  })
  return join(folder, kernel)
}
