// Real images, made in roots that have a kernel and a generator: each does what was said of the files that it is made of.
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { adapters } from '../../distros/index.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import type { BootStage } from '../../lib/system/boot.ts'
import { needs } from '../support/needs.ts'
import { runProgram } from '../support/run.ts'
import { BIND, type Files, hostOf, PREREQ, script, told } from '../support/stages.ts'
import { writeIn } from '../support/system.ts'

// Roots with a kernel and a generator, as mmdebstrap makes them: their folders, with `:` between them.
const roots = (process.env.VFIO_STAGE_ROOTS ?? '').split(':').filter((path) => path !== '')

needs('VFIO_STAGE_ROOTS', roots.length > 0 && process.getuid?.() === 0).describe('real images', () => {
  it.each(roots)('%s: the image of the present files does what was said before', { timeout: 600_000 }, (dir) => {
    const tools = runProgram('sh', ['-c', 'test -e "$1/usr/sbin/mkinitramfs"', 'sh', dir]).code === 0
    const [kernel = ''] = openReader(dir).list('/lib/modules') ?? []
    const own: Files = tools
      ? {
          ...script,
          'etc/initramfs-tools/scripts/init-top/00-vfio-scripts': `${PREREQ}/etc/vfio-scripts/override\n`,
          'etc/initramfs-tools/scripts/init-top/zz-mine': `${PREREQ}${BIND.replace('#!/bin/sh\n', '')}`,
          'etc/initramfs-tools/scripts/init-top/aa-later': `${PREREQ.replace('""', '"udev"')}modprobe snd-hda-intel 2>/dev/null\n`,
          'etc/initramfs-tools/scripts/init-premount/mine': `${PREREQ}modprobe i915\n`,
          'etc/initramfs-tools/hooks/vfio-scripts':
            '#!/bin/sh\nif [ "$1" = prereqs ]; then\n  exit 0\nfi\n. /usr/share/initramfs-tools/hook-functions\nforce_load nouveau modeset=0\ncopy_file script /etc/vfio-scripts/override\n',
          'etc/initramfs-tools/modules': '# list\nvfio_pci ids=10de:1c03\n',
        }
      : {
          ...script,
          'etc/dracut.conf.d/zz.conf':
            'hostonly="no"\ncompress="cat"\ndrivers+=" ext4 snd-hda-intel "\nforce_drivers+=" vfio_pci "\nadd_drivers+=" nouveau "\ninstall_items+=" /etc/modprobe.d/mine.conf "\nadd_dracutmodules+=" vfio-scripts "\nkernel_cmdline="rd.driver.pre=snd-hda-intel"\n',
          'usr/lib/dracut/modules.d/90vfio-scripts/module-setup.sh':
            '#!/bin/bash\ncheck() { return 255; }\ndepends() { :; }\ninstall() { inst_hook pre-udev 00 "$moddir/override.sh"; inst_simple /etc/vfio-scripts/override; }\n',
          'usr/lib/dracut/modules.d/90vfio-scripts/override.sh': '#!/bin/sh\n(/etc/vfio-scripts/override)\n',
        }
    const files: Files = { ...own, 'etc/modprobe.d/mine.conf': 'options vfio-pci ids=10de:10f1\nblacklist nouveau\n' }
    const image = join(dir, 'stage-image')
    try {
      for (const [path, text] of Object.entries(files)) writeIn(dir, path, text)
      chmodSync(join(dir, 'etc/vfio-scripts/override'), 0o755)
      mkdirSync(image)
      const make = tools
        ? `mkinitramfs -o /stage.img ${kernel} && unmkinitramfs /stage.img /stage-image`
        : `dracut --force /stage.img ${kernel} && cd /stage-image && lsinitrd --unpack /stage.img`
      const ran = runProgram('chroot', [dir, 'sh', '-c', `{ ${make}; } 2>&1`], { env: { TMPDIR: '/var/tmp' } })
      expect({ code: ran.code, end: ran.stdout.slice(-300) }).toMatchObject({ code: 0 })
      const top = openReader(image).exists('/main') ? join(image, 'main') : image
      const real = adapters.stageOf(openReader(top), kernel)
      const next = adapters.openInitramfs(hostOf(dir), tools ? 'initramfs-tools' : 'dracut')?.nextStage(kernel)
      // What dracut's own modules load without asking is told of an image alone.
      const asked = real?.steps.filter(({ kind, cause }) => kind !== 'load' || !/\/dracut\/hooks\//.test(cause))
      expect(next?.steps.map(told)).toEqual(asked?.map(told))
      const read = (stage: BootStage | undefined): string[] =>
        (stage?.modprobe ?? [])
          .filter(({ file }) => !file.includes('softdep'))
          .map(({ command, module, rest }) => `${command} ${module} ${rest}`)
      expect(read(next)).toEqual(read(real))
      expect(real?.modules?.has('vfio_pci') && real.modules.has('nouveau')).toBe(true)
    } finally {
      for (const path of [...Object.keys(files), 'stage.img', 'stage-image'])
        rmSync(join(dir, path), { recursive: true, force: true })
    }
  })
})
