import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, system, tune, updateGrub, write } from '../support/bind.ts'
import { loadMachine } from '../support/machine.ts'
import { runProgram } from '../support/run.ts'
import { snapshotOf } from '../support/system.ts'
import { host } from '../support/tune.ts'

// A module is left out only where neither the host nor its guests need it.

const release = loadMachine(system.machine).kernel
const DEP = `lib/modules/${release}/modules.dep`
const MOUNTS = '29 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n'

/** Of a driver on a bus: the module that it is of, and what it has. */
const driver = (bus: string, name: string, module: string, ...devices: string[]): Record<string, string> => ({
  [`sys/bus/${bus}/drivers/${name}/module`]: `→ ../../../../module/${module}`,
  ...Object.fromEntries(
    devices.map((one) => [`sys/bus/${bus}/drivers/${name}/${one}`, `→ ../../../../devices/${one}`]),
  ),
})

describe('refuses to leave out', { concurrent: true }, () => {
  it.each<[string, module: string, Record<string, string>, RegExp]>([
    [
      'a driver under another name than its module',
      'xhci_pci',
      driver('pci', 'xhci_hcd', 'xhci_pci'),
      /0000:00:14\.0 is on xhci_hcd/,
    ],
    ['it, spelled otherwise', 'xhci-pci', driver('pci', 'xhci_hcd', 'xhci_pci'), /is on xhci_hcd/],
    ['a driver of another bus', 'usbhid', driver('usb', 'usbhid', 'usbhid', '1-2:1.0'), /usb 1-2:1\.0 is on usbhid/],
    [
      'what a module that is loaded holds',
      'drm',
      { 'proc/modules': 'nouveau 1 0 - Live 0x0\ndrm 1 2 nouveau,drm_kms_helper, Live 0x0\n' },
      /\/proc\/modules: nouveau, drm_kms_helper needs it/,
    ],
    ['what is in use', 'loop', { 'proc/modules': 'loop 1 3 - Live 0x0\n' }, /\/proc\/modules: it is in use \(3\)/],
    ['a file system that is mounted', 'ext4', { 'proc/self/mountinfo': MOUNTS }, /\/ is mounted as ext4/],
    [
      'what its module depends on',
      'jbd2',
      {
        'proc/self/mountinfo': MOUNTS,
        [DEP]:
          'kernel/fs/jbd2/jbd2.ko.zst:\nkernel/fs/ext4/ext4.ko.zst: kernel/lib/crc16.ko.zst kernel/fs/jbd2/jbd2.ko.zst\n',
      },
      /\/ is mounted as ext4, and ext4 depends on it/,
    ],
    [
      'a file system of fstab',
      'nfsv4',
      { 'etc/fstab': 'nas:/x /srv nfs4 noauto 0 0\n' },
      /\/srv in \/etc\/fstab is nfs4/,
    ],
    ['a fuse', 'fuse', { 'etc/fstab': 'x /srv fuse.sshfs noauto 0 0\n' }, /\/srv in \/etc\/fstab is fuse\.sshfs/],
    ['encryption', 'dm_crypt', { 'etc/crypttab': 'data UUID=1 none luks\n' }, /data in \/etc\/crypttab is encrypted/],
    ['KVM, though no guest runs', 'kvm_intel', { 'proc/modules': 'kvm_intel 1 0 - Live 0x0\n' }, /guests .* run on it/],
    ['VFIO', 'vfio-pci', {}, /guests that own devices run on it/],
  ])('%s', (_, module, files, says) => {
    const dir = host(files)
    const before = snapshotOf(join(dir, 'etc'))
    const ran = tune(dir, '--blacklist', module, '--apply')
    expectRan(ran, 2, says)
    expect(ran.stderr).toMatch(/^tune-host: refused \(driver-needed\): The host needs /)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  // The judge: the kernel says of itself what is loaded and in use.
  it('whatever this machine counts users of', () => {
    const modules = runProgram('sh', ['-c', 'cat /proc/modules']).stdout.split('\n').filter(Boolean)
    const [busy] = modules.find((line) => Number(line.split(' ')[2]) > 0)?.split(' ') ?? []
    if (busy !== undefined) expectRan(tune('/', '--blacklist', busy), 2, /driver-needed|unknown/)
  })
})

describe('leaves out', { concurrent: true }, () => {
  it('what is loaded and not used, or held by what is left out too', () => {
    const modules = 'mxm_wmi 1 1 nouveau, Live 0x0\nnouveau 1 0 - Live 0x0\n'
    const files = { 'proc/modules': modules, [DEP]: 'kernel/x/nouveau.ko: kernel/x/mxm-wmi.ko\nkernel/x/mxm-wmi.ko:\n' }
    expectRan(tune(host(files), '--blacklist', 'mxm_wmi'), 2, /nouveau needs it/)
    const ran = tune(host(files), '--blacklist', 'mxm_wmi', '--blacklist', 'nouveau')
    expectRan(ran, 1, /module_blacklist=mxm_wmi,nouveau"/)
    expect(ran.stdout).not.toMatch(/unknown|No installed kernel/)
  })

  it('a module by the name that the kernel compares', () => {
    const dir = host({ 'proc/modules': 'ext4 1 1 - Live 0x0\n', [DEP]: 'kernel/x/i2c-nvidia-gpu.ko:\n' })
    expectRan(tune(dir, '--blacklist', 'snd-hda-intel', ...write), 2, /snd_hda_intel/)
    expectRan(tune(dir, '--blacklist', 'i2c-nvidia-gpu', ...write), 0, /module_blacklist=i2c_nvidia_gpu"/)
    updateGrub(dir)
    expectRan(tune(dir, '--blacklist', 'i2c_nvidia_gpu'), 0, /Nothing to do/)
  })

  it('says what was not seen', () => {
    const ran = tune(host({ [DEP]: 'kernel/x/radeon.ko:\n' }), '--blacklist', 'radeon')
    expectRan(ran, 1, /unknown .*whether the host needs radeon\n +not seen: what is loaded \(\/proc\/modules\)/)
  })

  it('not what no kernel has: it says what there is', () => {
    const ran = tune(host({ 'proc/modules': 'ext4 1 1 - Live 0x0\n' }), '--blacklist', 'nosuch')
    expectRan(ran, 2, /--blacklist nosuch: no installed kernel has such a module; .*\bnouveau, nvidia\b/)
    // Built outside the kernel, and here all the same.
    expectRan(tune(host({ 'proc/modules': 'vboxdrv 1 0 - Live 0x0\n' }), '--blacklist', 'vboxdrv'), 1, /=vboxdrv/)
  })
})
