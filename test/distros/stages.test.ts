// What an image does with drivers, by generator: small trees that pin the order.
import { describe, expect, it } from 'vitest'
import { adapters } from '../../distros/index.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import {
  BIND,
  type Files,
  FUNCTION,
  imageStage,
  kmod,
  nextOf,
  order,
  PREREQ,
  release,
  script,
  tellAll,
  tree,
  UDEV,
} from '../support/stages.ts'

const debian: Files = {
  ...kmod,
  'scripts/functions': '',
  'conf/initramfs.conf': 'MODULES=most\n',
  'scripts/init-top/udev': UDEV,
  'scripts/init-top/ORDER': order('udev'),
}

describe('an image of initramfs-tools', () => {
  it('runs init-top in its order, then loads conf/modules with options, then the rest', () => {
    const stage = imageStage({
      ...debian,
      ...script,
      'scripts/init-top/00-vfio-scripts': `${PREREQ}/etc/vfio-scripts/override\n`,
      'scripts/init-top/zz-mine': BIND,
      'scripts/init-top/ORDER': order('00-vfio-scripts', 'udev', 'zz-mine'),
      'scripts/init-premount/late':
        '#!/bin/sh\nif true; then\n  modprobe nouveau\nfi\n/sbin/modprobe snd-hda-intel model=x\n',
      'scripts/init-premount/ORDER': '/scripts/init-premount/late "$@"\n',
      'conf/modules': '# a comment\n\nvfio-pci ids=10de:1c03,10de:10f1\nnvidia\n',
      [`usr/lib/modules/${release}/kernel/drivers/vfio/pci/vfio-pci.ko.zst`]: '',
      [`usr/lib/modules/${release}/kernel/sound/snd-hda-intel.ko`]: '',
      lib: '→ usr/lib',
    })
    expect(tellAll(stage)).toEqual([
      `script ${FUNCTION}`,
      'coldplug',
      'load vfio_pci (-b)',
      'unknown 0000:02:00.0 0000:03:00.1',
      'load vfio_pci ids=10de:1c03,10de:10f1 (-b)',
      'load nvidia (-b)',
      'load snd_hda_intel model=x (-b)',
    ])
    expect(stage.steps[4]?.cause).toBe('/conf/modules:3: vfio-pci ids=10de:1c03,10de:10f1')
    expect(stage.steps[1]?.cause).toMatch(/^\/scripts\/init-top\/udev:10: udevadm trigger --type=devices/)
    expect([...(stage.modules ?? [])].sort()).toEqual(['snd_hda_intel', 'vfio_pci'])
    expect(stage.busybox).toBe(false)
  })

  it('reads modprobe.d and the softdeps of its kernel, and the program of an install line', () => {
    const stage = imageStage({
      ...debian,
      'etc/modprobe.d/vfio.conf': 'softdep nouveau pre: vfio-pci\ninstall vfio-pci /sbin/mine.sh\n',
      'sbin/mine.sh': BIND,
      'conf/modules': 'vfio_pci\n',
      [`lib/modules/${release}/modules.softdep`]: 'softdep ast pre: drm\n',
    })
    expect(stage.modprobe.map(({ command, module, file, line }) => [command, module, file, line])).toEqual([
      ['softdep', 'ast', `/lib/modules/${release}/modules.softdep`, 1],
      ['softdep', 'nouveau', '/etc/modprobe.d/vfio.conf', 1],
      ['install', 'vfio_pci', '/etc/modprobe.d/vfio.conf', 2],
    ])
    expect(tellAll(stage)).toEqual(['unknown 0000:02:00.0 0000:03:00.1', 'coldplug', 'load vfio_pci (-b)'])
  })

  it('is known by what is in it', () => {
    const others: Files[] = [{ init: '#!/bin/sh\n' }, { 'scripts/functions': '' }]
    for (const files of others) expect(adapters.stageOf(openReader(tree(files)), release)).toBeUndefined()
  })

  it('and of the present files: lists, modules.d, hooks, and scripts by their prerequisites', () => {
    const usr = 'usr/share/initramfs-tools'
    const stage = nextOf('initramfs-tools', {
      [`${usr}/scripts/init-top/udev`]: UDEV,
      [`${usr}/modules.d/plymouth`]: 'drm\n',
      [`${usr}/scripts/init-top/blacklist`]: PREREQ,
      ...script,
      'etc/initramfs-tools/modules': '# list\nvfio_pci ids=10de:1c03\n',
      'etc/initramfs-tools/scripts/init-top/00-vfio-scripts': `${PREREQ}/etc/vfio-scripts/override\n`,
      'etc/initramfs-tools/scripts/init-top/aa-mine': BIND.replace('#!/bin/sh\n', '#!/bin/sh\nPREREQ="udev"\n'),
      'etc/initramfs-tools/scripts/init-top/off.conf': 'modprobe nvidia\n',
      'etc/initramfs-tools/hooks/vfio-scripts':
        '#!/bin/sh\n. /usr/share/initramfs-tools/hook-functions\nforce_load vfio-pci\n',
      'etc/initramfs-tools/hooks/other':
        '#!/bin/sh\nforce_load "i915" enable_guc=3\nif x; then\nforce_load radeon\nfi\n',
      'etc/modprobe.d/a.conf': 'options vfio-pci ids=1002:1478\n',
      'usr/local/lib/modprobe.d/b.conf': 'blacklist nouveau\n',
    })
    expect(tellAll(stage)).toEqual([
      `script ${FUNCTION}`,
      'coldplug',
      'load vfio_pci (-b)',
      'unknown 0000:02:00.0 0000:03:00.1',
      'load vfio_pci ids=10de:1c03 (-b)',
      'load drm (-b)',
      'load i915 enable_guc=3 (-b)',
      'load vfio_pci (-b)',
    ])
    expect(stage.steps[4]?.cause).toBe('/etc/initramfs-tools/modules:2: vfio_pci ids=10de:1c03')
    expect(stage.modprobe.map(({ file }) => file)).toEqual(['/etc/modprobe.d/a.conf'])
    expect(stage.modules).toBeNull()
  })
})

describe('an image of dracut', () => {
  const base: Files = { ...kmod, 'usr/lib/dracut/modules.txt': 'base\n' }
  const systemd: Files = { ...base, 'usr/lib/systemd/systemd': '' }
  const HOOK = '#!/bin/sh\n(/etc/vfio-scripts/override)\n'
  const force: Files = { 'etc/cmdline.d/20-force_drivers.conf': 'rd.driver.pre=vfio_pci\nrd.driver.pre=a,b-c\n' }

  it.each(['usr/lib/dracut/hooks', 'var/lib/dracut/hooks'])(
    'with systemd: hooks come before forced drivers (%s)',
    (hooks) => {
      const stage = imageStage({
        ...systemd,
        ...force,
        ...script,
        [`${hooks}/pre-udev/00-override.sh`]: HOOK,
        [`${hooks}/pre-udev/50-mine.sh`]: BIND,
        [`${hooks}/pre-pivot/50-late.sh`]: 'modprobe nvidia\n',
        'usr/lib/systemd/system/systemd-modules-load.service': '',
        'etc/modules-load.d/x.conf': 'snd-hda-intel\nvfio-pci ids=1:2\n',
      })
      expect(tellAll(stage)).toEqual([
        `script ${FUNCTION}`,
        'load vfio_pci',
        'unknown 0000:02:00.0 0000:03:00.1',
        'load vfio_pci',
        'load a',
        'load b_c',
        'coldplug, beside load snd_hda_intel (-b)',
        'load nvidia',
      ])
      expect(stage.steps[3]?.cause).toBe('/etc/cmdline.d/20-force_drivers.conf:1: rd.driver.pre=vfio_pci')
    },
  )

  it('without systemd: forced drivers come before the hooks', () => {
    const hooks = 'usr/lib/dracut/hooks'
    const stage = imageStage({
      ...base,
      ...force,
      ...script,
      'etc/cmdline.d/post.conf': 'rd.driver.post=nouveau rd.driver.blacklist=radeon',
      [`${hooks}/cmdline/01-parse-kernel.sh`]: 'for i in $(getargs rd.driver.pre -d rdloaddriver=); do\n  :\ndone\n',
      [`${hooks}/pre-udev/00-override.sh`]: HOOK,
    })
    expect(tellAll(stage)).toEqual([
      'load vfio_pci',
      'load a',
      'load b_c',
      `script ${FUNCTION}`,
      'coldplug',
      'load nouveau',
    ])
    expect(stage.modprobe.map(({ command, module }) => `${command} ${module}`)).toEqual([
      'blacklist radeon',
      'blacklist nouveau',
    ])
  })

  const setup = (hook: string, check = 255): string =>
    `#!/bin/bash\ncheck() { return ${check}; }\ninstall() { ${hook} }\n`
  const config: Files = {
    'usr/bin/dracut': '#!/bin/bash\n[[ $hostonly == yes ]] && hostonly="-h"\n',
    'usr/lib/systemd/systemd': '',
    'etc/modprobe.d/z.conf': 'options vfio-pci ids=10de:1c03\n',
    'etc/modprobe.d/n.conf': 'blacklist nouveau\n',
    'usr/lib/modprobe.d/n.conf': 'blacklist ast\n',
    'etc/dracut.conf.d/a.conf':
      'force_drivers+=" vfio_pci "\nadd_drivers+=" nvidia "\ninstall_items+=" /etc/modprobe.d/z.conf "\n',
    'etc/modules-load.d/x.conf': 'nvidia\n',
  }

  it('and of the present files, of which it has those that are named', () => {
    const stage = nextOf('dracut', config)
    expect(tellAll(stage)).toEqual(['load vfio_pci', 'coldplug'])
    expect(stage.steps[0]?.cause).toBe('/etc/dracut.conf.d/a.conf:1: force_drivers+=" vfio_pci "')
    expect(stage.modprobe.map(({ file }) => file)).toEqual(['/usr/lib/modprobe.d/n.conf', '/etc/modprobe.d/z.conf'])
  })

  it('and for this machine alone, by the word of the configuration or by default in newer versions', () => {
    const newer = { 'usr/bin/dracut': `#!/bin/bash\nif [[ \${hostonly-} == "no" ]]; then\n` }
    const only = { 'etc/dracut.conf.d/h.conf': 'hostonly="yes"\n' }
    for (const more of [newer, only]) {
      const stage = nextOf('dracut', { ...config, ...more })
      expect(tellAll(stage)).toEqual(['load vfio_pci', 'coldplug, beside load nvidia (-b)'])
      expect(stage.modprobe.map(({ file }) => file)).toEqual(['/etc/modprobe.d/n.conf', '/etc/modprobe.d/z.conf'])
    }
  })

  it('and with modules of dracut that a person added', () => {
    const folder = 'usr/lib/dracut/modules.d'
    const hooks: Files = {
      ...script,
      [`${folder}/90vfio-scripts/module-setup.sh`]: setup(
        'inst_hook pre-udev 00 "$moddir/override.sh"; inst_simple x;',
      ),
      [`${folder}/90vfio-scripts/override.sh`]: HOOK,
      [`${folder}/99mine/module-setup.sh`]: setup('inst_hook pre-udev 99 "$moddir/mine.sh";', 0),
      [`${folder}/99mine/mine.sh`]: BIND,
      [`${folder}/99not/module-setup.sh`]: setup('inst_hook pre-udev 99 "$moddir/not.sh";'),
      [`${folder}/99not/not.sh`]: BIND,
      [`${folder}/90kernel-modules/module-setup.sh`]: setup('inst_hook cmdline 01 "$moddir/parse-kernel.sh";', 0),
      [`${folder}/90kernel-modules/parse-kernel.sh`]: 'for i in $(getargs rd.driver.pre); do :; done\n',
      'etc/dracut.conf.d/z.conf': 'add_dracutmodules+=" vfio-scripts "\n',
    }
    const [ours, ...mine] = [`script ${FUNCTION}`, 'unknown 0000:02:00.0 0000:03:00.1']
    expect(tellAll(nextOf('dracut', { ...config, ...hooks }))).toEqual([ours, ...mine, 'load vfio_pci', 'coldplug'])
    const without = { 'etc/dracut.conf.d/o.conf': 'omit_dracutmodules+=" systemd "\n' }
    expect(tellAll(nextOf('dracut', { ...config, ...hooks, ...without }))).toEqual([
      'load vfio_pci',
      ours,
      ...mine,
      'coldplug',
    ])
  })
})
