import { headComment, type SettingOf } from '../../lib/change/settings.ts'
import { hasSystemd } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { BOOT_SCRIPT_UNIT } from '../../lib/system/boot-script.ts'
import type { Host, Initramfs } from '../../lib/system/system.ts'
import { ownFileLine } from './boot-files.ts'

// Runs the boot script on the root file system where no initramfs can, before anything there loads drivers.

const UNITS = '/etc/systemd/system'
const OPENRC = ['/sbin/openrc-run', '/usr/sbin/openrc-run', '/usr/bin/openrc-run']
/** The services of OpenRC that load drivers for devices, or by name. */
const LOADERS = ['udev', 'mdev', 'modules']

const SERVICE = `#!/sbin/openrc-run
${headComment()}description="Gives PCI functions to vfio-pci before host drivers take them."

depend() {
  need sysfs dev-mount
  before dev modules
  keyword -docker -lxc -openvz -podman -prefix -systemd-nspawn -vserver -wsl
}

`

/** Returns `root` if the root file system can run the boot script where no image can: its init system is known here. */
export function rootLocation({ files }: Host): 'root' | undefined {
  return hasSystemd(files) || hasOpenrc(files) ? 'root' : undefined
}

/**
 * Returns settings that run the boot script on the root file system before udev, for each init system that is here.
 * All are files, which have the effect of the links that `systemctl enable` and `rc-update` make.
 */
export function rootSettings(
  { files }: Host,
  bootScript: string,
  reason = 'runs the script on the root file system, before udev',
): SettingOf<'line'>[] {
  const own = (path: string, line: string, head = headComment(), mode = 0o644): SettingOf<'line'> =>
    ownFileLine(files, path, { line, reason, head, mode })
  // A wanted service starts without being in a runlevel, and blocks nothing when it is gone. Only the first of the two
  // variables that is set counts: _depend() in OpenRC's rc-functions.sh.
  const wants = LOADERS.filter((name) => files.exists(`/etc/init.d/${name}`)).map(
    (name) => `rc_${name}_want="\${rc_${name}_want:-\${rc_want}} vfio-scripts"`,
  )
  const systemd = (): SettingOf<'line'>[] => [
    own(`${UNITS}/vfio-scripts.service`, `ExecStart=/bin/sh ${bootScript}`, BOOT_SCRIPT_UNIT),
    own(`${UNITS}/sysinit.target.d/vfio-scripts.conf`, 'Wants=vfio-scripts.service', `${headComment()}[Unit]\n`),
  ]
  const openrc = (): SettingOf<'line'>[] => [
    own('/etc/init.d/vfio-scripts', `start() { /bin/sh ${bootScript}; }`, SERVICE, 0o755),
    ...wants.map((line) => own('/etc/rc.conf.d/vfio-scripts.conf', line)),
  ]
  return [...(hasSystemd(files) ? systemd() : []), ...(hasOpenrc(files) ? openrc() : [])]
}

/** Returns the members shared by generators that write nothing, and whose init runs no script of ours. */
export function onRoot(host: Host): Pick<Initramfs, 'bootScriptLocation' | 'settings'> {
  return {
    bootScriptLocation: () => rootLocation(host),
    settings: ({ bootScript }) => (bootScript === null ? [] : rootSettings(host, bootScript)),
  }
}

function hasOpenrc(files: Reader): boolean {
  return OPENRC.some((path) => files.exists(path))
}
