import { headComment, type SettingOf } from '../../lib/change/settings.ts'
import { hasSystemd } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { BOOT_SCRIPT_UNIT } from '../../lib/system/boot-script.ts'
import type { Host } from '../../lib/system/system.ts'

// Where no initramfs can run the boot script: the root file system, before anything there loads drivers.

const UNITS = '/etc/systemd/system'
const OPENRC = ['/sbin/openrc-run', '/usr/sbin/openrc-run', '/usr/bin/openrc-run']
/** Services of OpenRC that load drivers for devices, or by name. */
const LOADERS = ['udev', 'mdev', 'modules']

const SERVICE = `#!/sbin/openrc-run
${headComment()}description="Gives PCI functions to vfio-pci before host drivers take them."

depend() {
  need sysfs dev-mount
  before dev modules
  keyword -docker -lxc -openvz -podman -prefix -systemd-nspawn -vserver -wsl
}

`

/** Is there an init system that is known to run the boot script on the root file system? */
export function rootPlace({ files }: Host): 'root' | undefined {
  return hasSystemd(files) || OPENRC.some((path) => files.exists(path)) ? 'root' : undefined
}

/**
 * Has the boot script run on the root file system before udev, for each init system that is here. Files alone: they do
 * what `systemctl enable` and `rc-update` do with links.
 */
export function rootSettings(
  files: Reader,
  override: string,
  reason = 'runs the script on the root file system, before udev',
): SettingOf<'line'>[] {
  const own = (path: string, head: string, line: string, mode = 0o644): SettingOf<'line'> => {
    const [folder = '', name = ''] = path.split(/\/(?=[^/]*$)/)
    return { kind: 'line', path: `${files.resolve(folder) ?? folder}/${name}`, head, mode, line, reason }
  }
  const settings: SettingOf<'line'>[] = []
  if (hasSystemd(files))
    settings.push(
      own(`${UNITS}/vfio-scripts.service`, BOOT_SCRIPT_UNIT, `ExecStart=/bin/sh ${override}`),
      own(`${UNITS}/sysinit.target.d/vfio-scripts.conf`, `${headComment()}[Unit]\n`, 'Wants=vfio-scripts.service'),
    )
  if (OPENRC.some((path) => files.exists(path))) {
    const loaders = LOADERS.filter((name) => files.exists(`/etc/init.d/${name}`))
    settings.push(
      own('/etc/init.d/vfio-scripts', SERVICE, `start() { /bin/sh ${override}; }`, 0o755),
      // A service that is wanted starts whether it is in a runlevel or not, and holds nobody up when it is gone. Of the
      // two variables only the first that is set counts: _depend() in OpenRC's rc-functions.sh.
      ...loaders.map((name) =>
        own(
          '/etc/rc.conf.d/vfio-scripts.conf',
          headComment(),
          `rc_${name}_want="\${rc_${name}_want:-\${rc_want}} vfio-scripts"`,
        ),
      ),
    )
  }
  return settings
}

/** The step for a person whose image may hold drivers; `where`: what brings them into it. */
export function keepOutStep(drivers: readonly string[], where: string): string {
  const names = drivers.length > 0 ? drivers.join(', ') : 'the drivers of these devices'
  return `Leave ${names} out of the image (${where}): what is loaded there comes before the script.`
}
