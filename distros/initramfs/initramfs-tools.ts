import type { CommandChange } from '../../lib/change/plan.ts'
import { headComment, type SettingOf } from '../../lib/change/settings.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, Initramfs } from '../../lib/system/system.ts'

// The person's and the kernel packages' door to it. Ubuntu from 25.10 and Debian's dracut from 112 bring one that runs dracut.
const PROGRAM = '/usr/sbin/update-initramfs'
const FOLDER = '/etc/initramfs-tools'

// Hooks are asked for their prerequisites first: initramfs-tools(7).
const HOOK = `#!/bin/sh
${headComment()}if [ "$1" = prereqs ]; then
  exit 0
fi
. /usr/share/initramfs-tools/hook-functions
`

// Scripts without prerequisites run in the order of their names, and udev is one of them: initramfs-tools(7), tsort(1).
const EARLY = '00-vfio-scripts'
const INIT_TOP = `#!/bin/sh
${headComment()}PREREQ=""
if [ "$1" = prereqs ]; then
  echo "$PREREQ"
  exit 0
fi
`

/** Debian, Ubuntu before 25.10, Proxmox VE. It takes /etc/modprobe.d/*.conf into every image by itself. */
export const initramfsTools: Initramfs = {
  name: 'initramfs-tools',
  documentation: 'https://manpages.debian.org/initramfs-tools.7',

  detect({ files }) {
    // Both files outlive the removal of the package, so they say nothing without the program.
    const left = ['/etc/kernel/postinst.d/initramfs-tools', `${FOLDER}/initramfs.conf`].find((path) =>
      files.exists(path),
    )
    if (left === undefined || updateInitramfs(files) !== 'initramfs-tools') return undefined
    return `${PROGRAM} runs mkinitramfs, and there is ${left}`
  },

  bootScriptLocation: () => 'image',

  settings({ files }, { module, bootScript }) {
    const place = (path: string): string => `${files.resolve(`${FOLDER}/${path}`) ?? `${FOLDER}/${path}`}`
    const hook = { kind: 'line', path: `${place('hooks')}/vfio-scripts`, head: HOOK, mode: 0o755 } as const
    // force_load takes the module in and has it loaded; a softdep decides what comes before it.
    const reason = `${module} is in every initramfs and loaded there`
    const settings: SettingOf<'line'>[] = [{ ...hook, line: `force_load ${module}`, reason }]
    if (bootScript === null) return settings
    const early = { kind: 'line', path: `${place('scripts/init-top')}/${EARLY}`, head: INIT_TOP, mode: 0o755 } as const
    return [
      ...settings,
      { ...hook, line: `copy_file script ${bootScript}`, reason },
      { ...early, line: bootScript, reason: 'runs the script first thing in the initramfs, before udev' },
    ]
  },

  commands: (host) => updateCommands(host, initramfsTools.images(host)),

  images({ files, kernels }) {
    return kernels.flatMap(({ release }) => {
      const path = files.resolve(`/boot/initrd.img-${release}`)
      return path === undefined ? [] : [{ release, path }]
    })
  },

  listCommand: (image) => ['lsinitramfs', image],

  steps: ({ module }) => [
    `echo ${module} >> ${FOLDER}/modules`,
    'update-initramfs -u -k all',
    `lsinitramfs /boot/initrd.img-$(uname -r) | grep -E '${module}|modprobe.d'`,
  ],
}

/** Which generator update-initramfs runs; `undefined` where there is no such program. */
export function updateInitramfs(files: Reader): 'initramfs-tools' | 'dracut' | undefined {
  const text = files.optionalBytes(PROGRAM)?.toString('latin1')
  if (text === undefined) return undefined
  if (/\bmkinitramfs\b/.test(text)) return 'initramfs-tools'
  return /\bdracut\b/.test(text) ? 'dracut' : undefined
}

/**
 * Rebuilds these images, a command each. `-k all` takes every kernel that linux-version(1) finds in /boot and that has an
 * image: it misses a kernel whose file is called otherwise, and fails at an image whose modules are gone. As the inverse
 * it is right: by then other kernels may be installed, and a release that is gone would be an error.
 * Source: get_sorted_versions() in /usr/sbin/update-initramfs (the same in 0.140 to 0.151).
 */
export function updateCommands({ files }: Host, images: readonly { release: string; path: string }[]): CommandChange[] {
  // update-initramfs.conf(5): then -u does nothing and says that all is well; only -c makes an image.
  const text = files.optionalBytes(`${FOLDER}/update-initramfs.conf`)?.toString('latin1') ?? ''
  const never = [...text.matchAll(/^[\t ]*update_initramfs=["']?(\w+)/gm)].at(-1)?.[1] === 'no'
  return images.map(({ release, path }) => {
    const argv = ['update-initramfs', never ? '-c' : '-u', '-k', release]
    const inverse = never ? argv : ['update-initramfs', '-u', '-k', 'all']
    return { kind: 'command', argv, inverse, touches: [path], reason: `the initramfs of ${release}` }
  })
}
