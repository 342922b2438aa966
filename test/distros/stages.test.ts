// What an image, and the root file system, does with drivers: real images where their tools are, and small trees.
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { adapters } from '../../distros/index.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import type { BootStage, BootStep } from '../../lib/system/boot.ts'
import { rootStage } from '../../lib/system/root-stage.ts'
import type { Host } from '../../lib/system/system.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { runProgram } from '../support/run.ts'
import { writeIn } from '../support/system.ts'

const release = '6.1.0-test'
type Files = Record<string, string>

function tree(files: Files): string {
  const dir = scratchDir('stage')
  for (const [path, text] of Object.entries(files)) writeIn(dir, path, text)
  return dir
}

function hostOf(dir: string): Host {
  const files = openReader(dir)
  return { files, machine: files, running: false, kernels: [] }
}

/** A step in one line, as a person would say it. */
function told(step: BootStep): string {
  if (step.kind === 'load')
    return `load ${step.module} ${step.options}${step.obeysBlacklist ? ' (-b)' : ''}`.replace(/ +/g, ' ').trim()
  if (step.kind === 'boot-script') return `script ${step.functions.join(', ')}`
  if (step.kind === 'coldplug') return ['coldplug', ...step.beside.map((one) => `beside ${told(one)}`)].join(', ')
  if (step.kind === 'override') return `override ${step.address} ${step.driver}`
  return `unknown ${step.addresses.join(' ')}`.trim()
}

const tellAll = ({ steps }: BootStage): string[] => steps.map(told)

function imageStage(files: Files): BootStage {
  const stage = adapters.stageOf(openReader(tree(files)), release)
  if (stage === undefined) throw new Error('nobody knows this image')
  return stage
}

function nextOf(name: string, files: Files): BootStage {
  const opened = adapters.openInitramfs(hostOf(tree(files)), name)
  if (opened === undefined) throw new Error(`there is no ${name}`)
  return opened.nextStage(release)
}

const FUNCTION = '0000:01:00.0 10de 1c03 1462:3282 /sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0'
const script: Files = { 'etc/vfio-scripts/override': `#!/bin/sh\nself=x\n#= ${FUNCTION}\n` }
const BIND =
  '#!/bin/sh\n# was 0000:09:00.0\nfor dev in 0000:02:00.0 03:00.1; do\n  echo vfio-pci > /sys/bus/pci/devices/$dev/driver_override\ndone\nmodprobe -i vfio-pci\n'
const kmod: Files = { 'usr/bin/kmod': '', 'sbin/modprobe': '→ /usr/bin/kmod' }
const order = (...names: string[]): string =>
  names.map((name) => `/scripts/init-top/${name} "$@"\n[ -e /conf/param.conf ] && . /conf/param.conf\n`).join('')
const PREREQ = '#!/bin/sh\nPREREQ=""\ncase $1 in\nprereqs)\n  echo "$PREREQ"\n  exit 0\n  ;;\nesac\n'
const UDEV = `${PREREQ}udevd --daemon\nudevadm trigger --type=devices --action=add\nudevadm settle || true\n`

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
    const newer = { 'usr/bin/dracut': '#!/bin/bash\nif [[ ${hostonly-} == "no" ]]; then\n' }
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
    const [ours, ...mine] = [`script ${FUNCTION}`, 'load vfio_pci', 'unknown 0000:02:00.0 0000:03:00.1']
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

describe('the root file system', () => {
  const root = (files: Files): BootStage => rootStage(hostOf(tree(files)), release)
  const systemd: Files = { ...kmod, 'usr/lib/systemd/systemd': '' }

  it('with systemd: our unit, the coldplug with modules-load.d beside it, driverctl, others', () => {
    const stage = root({
      ...systemd,
      ...script,
      'etc/systemd/system/vfio-scripts.service': '[Service]\nExecStart=/bin/sh /etc/vfio-scripts/override\n',
      'etc/systemd/system/sysinit.target.d/vfio-scripts.conf': '[Unit]\nWants=vfio-scripts.service\n',
      'etc/modules': '# /etc/modules\nvfio-pci\n',
      'etc/modules-load.d/modules.conf': '→ ../modules',
      'etc/modules-load.d/nvidia.conf': '→ /dev/null',
      'usr/lib/modules-load.d/nvidia.conf': 'nvidia\n',
      'usr/lib/modules-load.d/kvm.conf': '; x\nkvm ignored=1\nkvm_intel\n',
      'usr/lib/udev/rules.d/05-driverctl.rules': '',
      'etc/driverctl.d/pci-0000:01:00.0': 'vfio-pci\n',
      'etc/driverctl.d/pci-0000:02:00.0': 'none\n',
      'etc/driverctl.d/pci-0000:03:00.0': '',
      'etc/driverctl.d/vmbus-x': 'uio\n',
      'etc/udev/rules.d/99.rules':
        '# ATTR{driver_override}="x"\nACTION=="unbind", TAG+="x"\nSUBSYSTEM=="pci", KERNEL=="0000:04:00.0", ATTR{driver_override}="vfio-pci"\nACTION=="add", KERNELS=="0000:05:00.0", RUN+="/usr/local/bin/mine.sh"\n',
      'usr/local/bin/mine.sh': BIND,
      'usr/lib/systemd/system/early.service':
        '[Unit]\nBefore=systemd-udevd.service\n[Service]\nExecStart=/usr/local/bin/mine.sh 0000:06:00.0\n',
      'etc/systemd/system/sysinit.target.wants/early.service': '→ /usr/lib/systemd/system/early.service',
      'etc/systemd/system/off.service': '[Service]\nExecStart=/usr/local/bin/mine.sh\n',
      'etc/systemd/system/multi-user.target.wants/usb.service':
        "[Service]\nExecStart=/bin/sh -c 'echo 1-1 > /sys/bus/usb/drivers/usb/unbind'\nExecStart=/bin/sh -c 'echo 0 > /sys/class/vtconsole/vtcon0/bind'\n",
    })
    expect(tellAll(stage)).toEqual([
      `script ${FUNCTION}`,
      'unknown 0000:02:00.0 0000:03:00.1 0000:06:00.0',
      'coldplug, beside load kvm_intel (-b), beside load vfio_pci (-b)',
      'unknown 0000:04:00.0',
      'unknown 0000:02:00.0 0000:03:00.1 0000:05:00.0',
      'override 0000:01:00.0 vfio-pci',
      'override 0000:02:00.0 none',
    ])
    const coldplug = stage.steps[2]
    expect(coldplug?.kind === 'coldplug' && coldplug.beside[1]?.cause).toBe(
      '/etc/modules-load.d/modules.conf:2: vfio-pci',
    )
  })

  it("with systemd: driverctl's files have no effect when it is gone", () => {
    expect(tellAll(root({ ...systemd, 'etc/driverctl.d/pci-0000:01:00.0': 'vfio-pci\n' }))).toEqual(['coldplug'])
  })

  it('with OpenRC: lists come behind the coldplug, the most special one, with its options', () => {
    const stage = root({
      ...script,
      'etc/init.d/modules': '#!/sbin/openrc-run\nlocal dirs="/usr/lib/modules-load.d"\n',
      'etc/init.d/vfio-scripts': '#!/sbin/openrc-run\nstart() { /bin/sh /etc/vfio-scripts/override; }\n',
      'etc/rc.conf.d/vfio-scripts.conf': 'rc_udev_want="vfio-scripts"\n',
      'etc/conf.d/modules': 'modules="nvidia"\nmodules_6_1="vfio-pci i915"\nmodule_vfio_pci_args="ids=10de:1c03"\n',
      'etc/modules-load.d/x.conf': 'kvm nested=1\n',
      'etc/local.d/mine.start': BIND,
      'etc/local.d/off.stop': BIND,
    })
    expect(tellAll(stage)).toEqual([
      `script ${FUNCTION}`,
      'coldplug',
      'load kvm (-b)',
      'load vfio_pci ids=10de:1c03 (-b)',
      'load i915 (-b)',
      'load vfio_pci',
      'unknown 0000:02:00.0 0000:03:00.1',
    ])
  })

  it('with runit: modules-load.d comes before the coldplug', () => {
    const stage = root({ 'etc/runit/core-services/02-udev.sh': '', 'etc/modules-load.d/x.conf': 'vfio-pci\n' })
    expect(tellAll(stage)).toEqual(['load vfio_pci (-b)', 'coldplug'])
  })
})

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
          'etc/initramfs-tools/scripts/init-top/aa-later': `${PREREQ.replace('""', '"udev"')}modprobe snd-hda-intel\n`,
          'etc/initramfs-tools/scripts/init-premount/mine': `${PREREQ}modprobe i915\n`,
          'etc/initramfs-tools/hooks/vfio-scripts':
            '#!/bin/sh\nif [ "$1" = prereqs ]; then\n  exit 0\nfi\n. /usr/share/initramfs-tools/hook-functions\nforce_load nouveau modeset=0\ncopy_file script /etc/vfio-scripts/override\n',
          'etc/initramfs-tools/modules': '# list\nvfio_pci ids=10de:1c03\n',
        }
      : {
          ...script,
          'etc/dracut.conf.d/zz.conf':
            'hostonly="no"\nforce_drivers+=" vfio_pci "\nadd_drivers+=" nouveau "\ninstall_items+=" /etc/modprobe.d/mine.conf "\nadd_dracutmodules+=" vfio-scripts "\nkernel_cmdline="rd.driver.pre=snd-hda-intel"\n',
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
      const ran = runProgram('chroot', [dir, 'sh', '-c', `${make} 2>&1`])
      expect({ code: ran.code, end: ran.stdout.slice(-300) }).toMatchObject({ code: 0 })
      const top = openReader(image).exists('/main') ? join(image, 'main') : image
      const real = adapters.stageOf(openReader(top), kernel)
      const next = adapters.openInitramfs(hostOf(dir), tools ? 'initramfs-tools' : 'dracut')?.nextStage(kernel)
      console.log(
        dir,
        real?.steps.map((step) => `${told(step)}   <- ${step.cause}`),
      )
      expect(next?.steps.map(told)).toEqual(real?.steps.map(told))
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
