import { headComment } from '../../lib/change/settings.ts'
import type { InitramfsAdapter } from '../../lib/system/system.ts'
import { ownFileLine, readOnce, realPath } from '../boot/boot-files.ts'
import { dracutImages } from '../boot/dracut-images.ts'
import { DRACUT_DROP_IN, dracutStage, nextDracutStage } from '../boot/dracut-stage.ts'
import { findInstallPlugin } from '../boot/install-config.ts'
import { rootSettings } from '../boot/root-script.ts'
import { isReadOnlyRoot, isTransactional } from '../boot/transactional.ts'
import { findPostUpdate, updateInitramfs } from '../boot/update-initramfs.ts'

const PROGRAMS = ['/usr/bin/dracut', '/usr/sbin/dracut', '/sbin/dracut']
const DEBIAN_HOOK = '/etc/kernel/postinst.d/dracut'
const FOLDER = '/etc/dracut.conf.d'

const MODULES = '/usr/lib/dracut/modules.d'
const MODULE_SETUP = `#!/bin/bash
${headComment()}check() { return 255; }
depends() { :; }
`

/** dracut, of Fedora, RHEL, openSUSE, Void, EndeavourOS, Ubuntu from 25.10, and wherever else it was chosen. */
export const dracut: InitramfsAdapter = {
  name: 'dracut',
  documentation: 'https://man7.org/linux/man-pages/man5/dracut.conf.5.html',
  proven: 'booted: Debian 12, 13 and sid with dracut in the lab, with and without systemd',

  detect({ files }) {
    // On such systems rpm-ostree runs dracut.
    if (files.exists('/ostree/deploy')) return undefined
    const program = PROGRAMS.find((path) => files.exists(path))
    if (program === undefined || !files.exists('/usr/lib/dracut')) return undefined
    const update = updateInitramfs(files)
    if (update === 'dracut') return `${program}, which update-initramfs runs`
    const debian = files.exists(DEBIAN_HOOK)
    // Debian's dracut-core alone is for other images: initramfs-tools makes those of this machine.
    if (update === 'initramfs-tools' && !debian) return undefined
    if (isTransactional(files)) return `${program}, which transactional-update runs for a new snapshot`
    const hook = debian ? DEBIAN_HOOK : findInstallPlugin(files, 'dracut')
    return hook === undefined ? program : `${program}, and ${hook} runs it for new kernels`
  },

  stageOf: dracutStage,

  open(host) {
    const { files } = host
    const made = readOnce(host, () => dracutImages(host))
    return {
      bootScriptLocation: () => 'image',

      settings({ module, modprobe, bootScript }) {
        // dracut reads names that end in .conf, in order: ours comes after a file that assigns instead of appending.
        const config = (line: string, reason: string) => ownFileLine(files, DRACUT_DROP_IN, { line, reason })
        const settings = [
          // dracut turns only the first hyphen of the whole list into an underscore.
          config(
            `force_drivers+=" ${module.replaceAll('-', '_')} "`,
            `${module} is in every initramfs, loaded before udev`,
          ),
          // Only host-only images get /etc/modprobe.d.
          ...modprobe.map((file) => config(`install_items+=" ${file} "`, `${file} is in every initramfs`)),
        ]
        if (bootScript === null) return settings
        if (isReadOnlyRoot(files)) {
          // A module would be in /usr; a unit needs none.
          const unit = rootSettings(host, bootScript, 'runs the script in the initramfs, before udev')
          const paths = [bootScript, ...new Set(unit.map(({ path }) => path))]
          return [
            ...settings,
            ...paths.map((path) => config(`install_items+=" ${path} "`, `${path} is in it`)),
            ...unit,
          ]
        }
        // Only a dracut module of our own can add a hook; hooks are sourced, so the script gets its own shell.
        const reason = 'runs the script before udev'
        const own = (name: string, head: string, line: string) =>
          ownFileLine(files, `${realPath(files, MODULES)}/90vfio-scripts/${name}`, { line, reason, head, mode: 0o755 })
        const install = `inst_hook pre-udev 00 "$moddir/override.sh"; inst_simple ${bootScript};`
        return [
          ...settings,
          config('add_dracutmodules+=" vfio-scripts "', reason),
          own('module-setup.sh', MODULE_SETUP, `install() { ${install} }`),
          own('override.sh', `#!/bin/sh\n${headComment()}`, `(${bootScript})`),
        ]
      },

      isManual: () => isTransactional(files),
      handsOn: () => (updateInitramfs(files) === 'dracut' ? findPostUpdate(files) : undefined),
      commands: () => made().commands,
      images: () => made().images,
      nextStage: (release) => nextDracutStage(files, release),
      listCommand: (image) => ['lsinitrd', image],

      steps: ({ module, modprobe }) => [
        `echo 'force_drivers+=" ${module.replaceAll('-', '_')} "' >> ${FOLDER}/vfio.conf`,
        ...modprobe.map((file) => `echo 'install_items+=" ${file} "' >> ${FOLDER}/vfio.conf`),
        ...(isTransactional(files)
          ? ['transactional-update initrd (a new snapshot, for the next boot)']
          : ['dracut --force --regenerate-all']),
        `lsinitrd | grep -E '${module}|modprobe.d'`,
      ],
    }
  },
}
