// Two equal cards on fake systems of every initramfs generator, bound by address: what these tests share.
import { override, write } from './bind.ts'
import { generatorDir } from './generators.ts'
import type { Ran } from './run.ts'

type Files = Parameters<typeof generatorDir>[0]

export const script = 'etc/vfio-scripts/override'
export const unit = 'etc/systemd/system/vfio-scripts.service'
export const service = 'etc/init.d/vfio-scripts'
export const wanted = 'etc/rc.conf.d/vfio-scripts.conf'
export const main = 'etc/mkinitcpio.conf'
export const dropIn = 'etc/mkinitcpio.conf.d/zz-vfio-scripts.conf'
export const runs = 'ExecStart=/bin/sh /etc/vfio-scripts/override\n'

export const systemd: Files = { 'usr/lib/systemd/systemd': '' }
export const openrc: Files = {
  'sbin/openrc-run': '',
  'etc/init.d/udev': '#!/sbin/openrc-run\n',
  'etc/init.d/modules': '#!/sbin/openrc-run\n',
}

export const twins = (files: Files, more: Files = {}): string => generatorDir(files, more, 'twin-gpus')
/** The second of the two is bound by its address. */
export const apply = (dir: string, ...args: string[]): Ran => override(dir, '05:00', ...write, ...args)
export const undo = (dir: string, ...args: string[]): Ran => override(dir, '--undo', ...write, ...args)
