// What the root file system does with drivers.
import { describe, expect, it } from 'vitest'
import type { BootStage } from '../../lib/system/boot.ts'
import { rootStage } from '../../lib/system/root-stage.ts'
import { BIND, type Files, FUNCTION, hostOf, kmod, release, script, tellAll, tree } from '../support/stages.ts'

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
