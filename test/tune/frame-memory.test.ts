import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, expectRefused, tune, write } from '../support/bind.ts'
import { domainHost, genDomain } from '../support/domain.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, PROJECT, runProgram } from '../support/run.ts'
import { snapshotOf, textOf } from '../support/system.ts'
import { host } from '../support/tune.ts'

// The memory of Looking Glass on the host: kvmfr where it is installed, else a file that tmpfiles makes.

const asked = ['--looking-glass', '2560x1440', '--viewer', 'ada']
const accounts = {
  'etc/passwd':
    'root:x:0:0::/root:/bin/sh\nada:x:1001:1001::/home/ada:/bin/sh\nlibvirt-qemu:x:64055:104::/:/bin/false\n',
}
const QEMU_CONF = '# user = "root"\ncgroup_device_acl = [ "/dev/null", "/dev/kvm" ]\n'
const kvmfr = { ...accounts, 'dev/kvmfr0': '', 'etc/libvirt/qemu.conf': QEMU_CONF }
const ABSTRACTION = {
  'etc/apparmor.d/abstractions/libvirt-qemu': '  include if exists <abstractions/libvirt-qemu.d>\n',
}

describe('tune-host --looking-glass', () => {
  it.each([
    ['kvmfr', kvmfr],
    ['shared memory', accounts],
  ])('%s: planned, applied once, taken back byte for byte', (_, files) => {
    const dir = host(files)
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, ...asked), 1)
    expectRan(tune(dir, ...asked, ...write), 0)
    expectRan(tune(dir, ...asked), 0, /Nothing to do/)
    // Another resolution takes the place of the first one.
    expectRan(tune(dir, '--looking-glass', '1920x1080', ...write), 0)
    expectRan(tune(dir, '--undo', 'looking-glass', ...write), 0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('kvmfr: its size, its rights, its loading, and who lets QEMU open it', () => {
    const dir = host({ ...kvmfr, ...ABSTRACTION })
    tune(dir, ...asked, ...write)
    expect(textOf(dir, 'etc/modprobe.d/vfio-scripts-kvmfr.conf')).toMatch(/^options kvmfr static_size_mb=64$/m)
    expect(textOf(dir, 'etc/modules-load.d/vfio-scripts-kvmfr.conf')).toMatch(/^kvmfr$/m)
    expect(textOf(dir, 'etc/udev/rules.d/99-vfio-scripts.rules')).toMatch(
      /^SUBSYSTEM=="kvmfr", OWNER="ada", GROUP="kvm", MODE="0660"$/m,
    )
    expect(textOf(dir, 'etc/libvirt/qemu.conf')).toContain('"/dev/kvm", "/dev/kvmfr0" ]')
    expect(textOf(dir, 'etc/apparmor.d/abstractions/libvirt-qemu.d/vfio-scripts')).toMatch(/^\/dev\/kvmfr0 rw,$/m)
  })

  it('says what SELinux and the groups of QEMU want', () => {
    const enforcing = { ...kvmfr, 'etc/selinux/config': 'SELINUX=enforcing\n' }
    expect(tune(host(enforcing), ...asked).stdout).toContain(
      '(allow svirt_t device_t (chr_file (open read write map)))',
    )
    expect(tune(host(kvmfr), ...asked).stdout).not.toContain('semodule')
    const stranger = { ...accounts, 'etc/passwd': accounts['etc/passwd'].replace('64055:104', '64055:99') }
    expect(tune(host(stranger), ...asked).stdout).toContain('usermod -aG kvm libvirt-qemu')
    expect(tune(host(accounts), ...asked).stdout).not.toContain('usermod -aG kvm libvirt-qemu')
  })

  it('shared memory: a line for tmpfiles, and why it is not kvmfr', () => {
    const dir = host(accounts)
    expectRan(tune(dir, ...asked, ...write), 0, /No kernel here has the module kvmfr/)
    expect(textOf(dir, 'etc/tmpfiles.d/vfio-scripts-looking-glass.conf')).toMatch(
      /^f \/dev\/shm\/looking-glass 0660 ada kvm -$/m,
    )
  })

  needs('systemd-tmpfiles', has('systemd-tmpfiles') && process.getuid?.() === 0).it(
    'the real systemd-tmpfiles makes the file with this mode',
    () => {
      const dir = host(accounts)
      tune(dir, ...asked, ...write)
      const root = scratchDir('tmpfiles')
      mkdirSync(join(root, 'etc'))
      for (const name of ['passwd', 'group', 'tmpfiles.d'])
        runProgram('cp', ['-a', join(dir, 'etc', name), join(root, 'etc', name)])
      const ran = runProgram('systemd-tmpfiles', ['--create', `--root=${root}`, 'vfio-scripts-looking-glass.conf'])
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      const made = runProgram('stat', ['-c', '%a %u %g', join(root, 'dev/shm/looking-glass')]).stdout
      expect(made).toBe('660 1001 104\n')
    },
  )

  it.each<[string, string[], RegExp]>([
    ['no resolution', ['--looking-glass', 'large'], /write 2560x1440/],
    ['a user that there is not', ['--looking-glass', '2560x1440', '--viewer', 'nobody9'], /no such user/],
    ['a name with a line in it', ['--looking-glass', '2560x1440', '--viewer', 'ada\nx'], /not the name of a user/],
    ['a viewer alone', ['--viewer', 'ada'], /--viewer goes with --looking-glass/],
  ])('refuses %s', (_, args, says) => {
    const dir = host(kvmfr)
    expectRefused(dir, args, says)
  })
})

it('the commands of docs/looking-glass.md are ones that the scripts take', () => {
  const page = readFileSync(`${PROJECT}docs/looking-glass.md`, 'utf8')
  const lines = /```sh\n([\s\S]*?)```/.exec(page)?.[1]?.trim().split('\n') ?? []
  const words = lines.map((line) => line.replace(/\s+[#>].*$/, '').split(' '))
  expect(words.map(([script]) => script)).toEqual(['tune-host', 'gen-domain'])
  expectRan(tune(host(kvmfr), ...(words[0]?.slice(1) ?? [])), 1, /64 MiB of kvmfr/)
  const made = genDomain(domainHost(), ...(words[1]?.slice(1) ?? []))
  expect([made.code, made.stdout.includes("<size unit='M'>64</size>")]).toEqual([0, true])
})
