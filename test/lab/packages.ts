import { LabError, must, run } from './shell.ts'

/** The Debian packages that the lab uses, and what for. */
const needed = {
  'qemu-system-x86': 'the guests',
  'qemu-utils': 'qemu-img',
  ovmf: 'UEFI firmware',
  mmdebstrap: 'the root file systems',
  'debian-archive-keyring': 'the keys that sign them',
  kmod: 'module dependencies',
  'xz-utils': 'the kernel without its compression',
  cpio: 'the small initramfs',
  e2fsprogs: 'mkfs.ext4',
  gdisk: 'sgdisk',
  dosfstools: 'the EFI system partition',
  mtools: 'the files on it',
  'util-linux': 'unshare, losetup, addpart',
}

/** Those of them that are not installed. */
export async function missingPackages(): Promise<string[]> {
  const names = Object.keys(needed)
  const { stdout } = await run(['dpkg', '-s', ...names]).catch(() => ({ stdout: '' }))
  const installed = stdout.matchAll(/^Package: (.+)\n(?:Essential: .+\n)?Status: install ok installed$/gm)
  const present = new Set([...installed].map(([, name]) => name))
  return names.filter((name) => !present.has(name))
}

export async function installPackages(names: readonly string[]): Promise<void> {
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  await must(['apt-get', 'update'], { env })
  await must(['apt-get', 'install', '-y', '--no-install-recommends', ...names], { env })
}

export interface Mirror {
  main: string
  security: string | undefined
}

/** Where this machine itself gets Debian packages: apt-get(8), indextargets. */
export async function debianMirror(): Promise<Mirror> {
  const format = '$(SITE) $(RELEASE) $(LABEL)'
  const targets = await must(['apt-get', 'indextargets', '--format', format, 'Created-By: Packages'])
  const lines = targets.split('\n').map((line) => line.split(' '))
  const main = lines.find(([, , label]) => label === 'Debian')?.[0]
  const security = lines.find(([, , label]) => label === 'Debian-Security')?.[0]
  if (main === undefined) {
    throw new LabError('apt on this machine has no Debian mirror: look at /etc/apt/sources.list.d, run apt-get update')
  }
  return { main, security }
}
