import { headComment } from '../../lib/change/settings.ts'
import type { InitramfsAdapter } from '../../lib/system/system.ts'
import { findImages, ownFileLine } from '../boot/boot-files.ts'
import { initramfsToolsStage, nextInitramfsToolsStage } from '../boot/initramfs-tools-stage.ts'
import { findPostUpdate, UPDATE_INITRAMFS, updateCommands, updateInitramfs } from '../boot/update-initramfs.ts'

const FOLDER = '/etc/initramfs-tools'

// Hooks are asked for their prerequisites first: initramfs-tools(7).
const HOOK = `#!/bin/sh
${headComment()}if [ "$1" = prereqs ]; then
  exit 0
fi
. /usr/share/initramfs-tools/hook-functions
`

// Scripts without prerequisites run in the order of their names, and udev is one of them: initramfs-tools(7), tsort(1).
const EARLY = 'scripts/init-top/00-vfio-scripts'
const INIT_TOP = `#!/bin/sh
${headComment()}PREREQ=""
if [ "$1" = prereqs ]; then
  echo "$PREREQ"
  exit 0
fi
`

/** initramfs-tools, of Debian, Ubuntu before 25.10, Proxmox VE. It puts /etc/modprobe.d/*.conf into every image. */
export const initramfsTools: InitramfsAdapter = {
  name: 'initramfs-tools',
  documentation: 'https://manpages.debian.org/initramfs-tools.7',
  proven: 'booted: Debian 12 and 13 in the lab, by BIOS and UEFI',

  detect({ files }) {
    // Both files outlive the removal of the package, so they prove nothing without the program.
    const kept = ['/etc/kernel/postinst.d/initramfs-tools', `${FOLDER}/initramfs.conf`]
    const left = kept.find((path) => files.exists(path))
    if (left === undefined || updateInitramfs(files) !== 'initramfs-tools') return undefined
    return `${UPDATE_INITRAMFS} runs mkinitramfs, and there is ${left}`
  },

  stageOf: initramfsToolsStage,

  open(host) {
    const { files } = host
    const images = () => findImages(host, (release) => [`/boot/initrd.img-${release}`])
    return {
      bootScriptLocation: () => 'image',
      modulesWithOptions: `${FOLDER}/modules`,

      settings({ module, bootScript }) {
        const own = (name: string, head: string, line: string, reason: string) =>
          ownFileLine(files, `${FOLDER}/${name}`, { line, reason, head, mode: 0o755 })
        // force_load takes the module in and has it loaded; a softdep decides what comes before it.
        const reason = `${module} is in every initramfs and loaded there`
        const hook = (line: string) => own('hooks/vfio-scripts', HOOK, line, reason)
        if (bootScript === null) return [hook(`force_load ${module}`)]
        const early = 'runs the script first thing in the initramfs, before udev'
        return [
          hook(`force_load ${module}`),
          hook(`copy_file script ${bootScript}`),
          own(EARLY, INIT_TOP, bootScript, early),
        ]
      },

      handsOn: () => findPostUpdate(files),
      commands: () => updateCommands(files, images()),
      images,
      nextStage: (release) => nextInitramfsToolsStage(files, release),
      listCommand: (image) => ['lsinitramfs', image],

      steps: ({ module }) => [
        `echo ${module} >> ${FOLDER}/modules`,
        'update-initramfs -u -k all',
        `lsinitramfs /boot/initrd.img-$(uname -r) | grep -E '${module}|modprobe.d'`,
      ],
    }
  },
}
