// What an image does with drivers: mkinitcpio, and generators that few have.
import { describe, expect, it } from 'vitest'
import { adapters } from '../../distros/index.ts'
import {
  BIND,
  type Files,
  FUNCTION,
  hostOf,
  imageStage,
  nextOf,
  release,
  script,
  tellAll,
  told,
  tree,
} from '../support/stages.ts'

describe('an image of mkinitcpio', () => {
  const EARLY = 'run_earlyhook() { /etc/vfio-scripts/override; }\n'
  const TRIGGER =
    'run_earlyhook() {\n  udevd --daemon\n}\n\nrun_hook() {\n  udevadm trigger --action=add --type=devices\n  udevadm settle\n}\n'
  const hooks = (folder: string): Files => ({
    [`${folder}/vfio-scripts`]: `#!/bin/sh\n${EARLY}`,
    [`${folder}/udev`]: `#!/usr/bin/ash\n${TRIGGER}`,
    [`${folder}/mine`]: `#!/usr/bin/ash\nrun_hook() {\n${BIND.replace('#!/bin/sh\n', '')}}\n`,
  })

  it('loads MODULES behind its early hooks, obeys the blacklist, and has the coldplug where the hook is', () => {
    const stage = imageStage({
      ...script,
      ...hooks('hooks'),
      init_functions: '',
      config: 'MODULES="vfio_pci nvidia"\nEARLYHOOKS="udev vfio-scripts"\nHOOKS="mine udev"\nLATEHOOKS=""\n',
      'usr/bin/kmod': '',
      'usr/bin/modprobe': '→ kmod',
    })
    expect(tellAll(stage)).toEqual([
      `script ${FUNCTION}`,
      'load vfio_pci (-b)',
      'load nvidia (-b)',
      'load vfio_pci',
      'unknown 0000:02:00.0 0000:03:00.1',
      'coldplug',
    ])
    expect(stage.steps[0]?.cause).toBe('/hooks/vfio-scripts:2: /etc/vfio-scripts/override')
    expect(stage.steps[1]?.cause).toBe('/config:1: MODULES="vfio_pci nvidia"')
  })

  it('with systemd, MODULES are loaded beside the coldplug', () => {
    const stage = imageStage({
      ...script,
      init: '→ usr/lib/systemd/systemd',
      'usr/lib/systemd/systemd': '',
      config: 'MODULES="vfio_pci"\nEARLYHOOKS=""\nHOOKS=""\n',
      buildconfig: '',
      'etc/modules-load.d/MODULES.conf': 'vfio_pci\nnvidia\n',
      'etc/systemd/system/vfio-scripts.service': '[Service]\nExecStart=/bin/sh /etc/vfio-scripts/override\n',
      'etc/systemd/system/sysinit.target.wants/vfio-scripts.service': '→ ../vfio-scripts.service',
      'etc/systemd/system/mine.service': '[Service]\nExecStart=-/usr/bin/mine.sh\n',
      'etc/systemd/system/sysinit.target.wants/mine.service': '→ ../mine.service',
      'usr/bin/mine.sh': BIND,
    })
    expect(tellAll(stage)).toEqual([
      `script ${FUNCTION}`,
      'coldplug, beside load vfio_pci (-b), beside load nvidia (-b)',
      'unknown 0000:02:00.0 0000:03:00.1',
    ])
  })

  const arch: Files = {
    ...script,
    ...hooks('usr/lib/initcpio/hooks'),
    'usr/bin/mkinitcpio': '#!/bin/bash\n_d_config=/etc/mkinitcpio.conf.d\n',
    'etc/mkinitcpio.conf': 'MODULES=(nvidia)\nHOOKS=(base udev modconf block)\n',

    'etc/mkinitcpio.conf.d/zz-vfio-scripts.conf':
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is shell
      'MODULES=(vfio_pci ${MODULES[@]})\nHOOKS=(vfio-scripts ${HOOKS[@]})\n',
    'etc/modprobe.d/a.conf': 'options vfio-pci ids=10de:1c03\n',
  }

  it('and of the present files', () => {
    const stage = nextOf('mkinitcpio', arch)
    expect(tellAll(stage)).toEqual([`script ${FUNCTION}`, 'load vfio_pci (-b)', 'load nvidia (-b)', 'coldplug'])
    expect(stage.steps[2]?.cause).toBe('/etc/mkinitcpio.conf:1: MODULES=(nvidia)')
    expect(stage.modprobe.map(({ file }) => file)).toEqual(['/etc/modprobe.d/a.conf'])
  })

  it('and of the present files: without modconf, without udev, with systemd', () => {
    const conf = (HOOKS: string): Files => ({ ...arch, 'etc/mkinitcpio.conf': `MODULES=(nvidia?)\nHOOKS=(${HOOKS})\n` })
    const bare = nextOf('mkinitcpio', conf('base block'))
    expect(tellAll(bare)).toEqual([`script ${FUNCTION}`, 'load vfio_pci (-b)', 'load nvidia (-b)'])
    expect(bare.modprobe).toEqual([])
    expect(tellAll(nextOf('mkinitcpio', conf('systemd modconf')))).toEqual([
      `script ${FUNCTION}`,
      'coldplug, beside load vfio_pci (-b), beside load nvidia (-b)',
    ])
  })
})

describe('other generators', () => {
  it('booster loads its list beside the coldplug, with the options that it has taken', () => {
    const image = imageStage({
      'etc/booster.init.yaml':
        'moduledependencies:\n  vfio_pci:\n  - vfio_pci_core\nmodulesforceload:\n- vfio_pci\n- ext4\nmodprobeoptions:\n  vfio_pci: ids=10de:1c03,10de:10f1\nkernel: 6.1\n',
      'usr/lib/modules/vfio_pci.ko': '',
      'usr/lib/modules/booster.alias': '',
    })
    const next = nextOf('booster', {
      'etc/booster.yaml': 'network:\n  dhcp: on\nmodules_force_load: vfio-pci,"ext4"\n',
      'etc/modprobe.d/a.conf':
        'options vfio-pci ids=10de:1c03,10de:10f1\nsoftdep nouveau pre: vfio-pci\nblacklist ast\n',
    })
    for (const stage of [image, next]) {
      expect(tellAll(stage)).toEqual(['coldplug, beside load vfio_pci, beside load ext4'])
      expect(stage.modprobe.map(({ command, module, rest }) => [command, module, rest])).toEqual([
        ['options', 'vfio_pci', 'ids=10de:1c03,10de:10f1'],
      ])
    }
    expect([...(image.modules ?? [])]).toEqual(['vfio_pci'])
  })

  it('genkernel loads the groups of its init before udev', () => {
    const image = imageStage({
      'etc/initrd.defaults': `HWOPTS_BLK='nvme usb'\nMY_HWOPTS="modules \${HWOPTS_BLK} fs"\n`,
      'etc/modules/usb': 'xhci-pci\n',
      'etc/modules/nvme': 'nvme\n',
      'etc/modules/misc': 'vfio-pci\n',
    })
    const next = nextOf('genkernel', {
      'etc/genkernel.conf': 'AMODULES_NVME="nvme"\nAMODULES_USB="xhci-pci"\nAMODULES_MISC="vfio-pci"\n',
    })
    for (const stage of [image, next]) expect(tellAll(stage)).toEqual(['load nvme', 'load xhci_pci', 'coldplug'])
  })

  it('mkinitfs has nlplug-findfs for the coldplug, and busybox', () => {
    const image = imageStage({
      'sbin/nlplug-findfs': '',
      'bin/busybox': '',
      'sbin/modprobe': '→ /bin/busybox',
      'etc/modules': 'vfio-pci ids=1:2 # x\n',
    })
    expect(tellAll(image)).toEqual(['load vfio_pci ids=1:2', 'coldplug'])
    expect(image.busybox).toBe(true)
    const config: Files = { 'etc/mkinitfs/mkinitfs.conf': 'features="base vfio"\n', 'etc/modules': 'vfio-pci\n' }
    expect(tellAll(nextOf('mkinitfs', config))).toEqual(['coldplug'])
    expect(tellAll(nextOf('mkinitfs', { ...config, 'etc/mkinitfs/features.d/vfio.files': '/etc/modules\n' }))).toEqual([
      'load vfio_pci',
      'coldplug',
    ])
  })

  it('none does nothing', () => {
    expect(nextOf('none', {})).toEqual({ modprobe: [], busybox: false, modules: null, steps: [] })
  })

  it('rpm-ostree runs dracut with the options that it keeps, or has the image of the distribution', () => {
    const origin = (text: string): Files => ({
      'ostree/deploy/f/deploy/0.0.origin': text,
      'ostree/deploy/f/deploy/0.0/usr/x': '',
      'usr/bin/dracut': '#!/bin/bash\n',
      'etc/modprobe.d/a.conf': 'blacklist nouveau\n',
      'etc/dracut.conf.d/a.conf': 'force_drivers+=" vfio_pci "\n',
    })
    expect(tellAll(nextOf('rpm-ostree-initramfs', origin('[origin]\n')))).toEqual(['coldplug'])
    const opened = adapters.openInitramfs(hostOf(tree(origin('[origin]\n'))), 'rpm-ostree-initramfs')
    const add = ['--enable', '--force-drivers=vfio_pci', '--install=/etc/modprobe.d/a.conf']
    const stage = opened?.nextStage(release, { add, remove: [] })
    expect(stage?.steps.map(told)).toEqual(['load vfio_pci', 'load vfio_pci', 'coldplug'])
    expect(stage?.modprobe.map(({ file }) => file)).toEqual(['/etc/modprobe.d/a.conf'])
  })
})
