// May a hook of libvirt start a unit on this host?
import { describe, expect, it } from 'vitest'
import { libvirtHookCheck } from '../../lib/checks/libvirt-hook.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { newFolder } from '../support/expect.ts'
import { writeIn } from '../support/system.ts'

const hook = 'etc/libvirt/hooks/qemu.d/50-vfio-scripts-hand-over'
const library = 'usr/lib64/libvirt.so.0.9000.0'
const profile = (rules: string): Record<string, string> => ({
  'sys/module/apparmor/parameters/enabled': 'Y\n',
  'etc/apparmor.d/usr.sbin.libvirtd': `profile libvirtd {\n${rules}}\n`,
})
const hooks = '  /etc/libvirt/hooks/** rmix,\n'
const programs = '  /usr/bin/* PUx,\n'

function found(files: Record<string, string>): string[] {
  const dir = newFolder()
  for (const [path, text] of Object.entries({ [hook]: '#!/bin/sh\n', ...files })) writeIn(dir, path, text)
  const reader = openReader(dir)
  const host = { files: reader, machine: reader, running: false } as Parameters<typeof libvirtHookCheck.run>[0]['host']
  return libvirtHookCheck.run({ host }).map(({ state, summary, next }) => `${state}: ${summary}; ${next}`)
}

describe('a hook of libvirt', () => {
  it.each<[string, Record<string, string>, RegExp]>([
    ['is called since 6.5', { [library]: '' }, /^ok: A hook of libvirt can start a unit/],
    [
      'is not called before',
      { 'usr/lib64/libvirt.so.0.6004.0': '' },
      /^problem: libvirt 6\.4\.0 calls no hooks of a folder; update/,
    ],
    ['may, by AppArmor as Debian has it', { [library]: '', ...profile(hooks + programs) }, /^ok/],
    [
      'may not run',
      { [library]: '', ...profile(programs) },
      /^problem: AppArmor keeps libvirt from running its hooks; add to \/etc\/apparmor\.d\/local\/usr\.sbin\.libvirtd/,
    ],
    [
      'may not start programs',
      { [library]: '', ...profile(hooks) },
      /^problem: AppArmor keeps hooks of libvirt from starting/,
    ],
    [
      'may, by a local rule',
      { [library]: '', ...profile(hooks), 'etc/apparmor.d/local/usr.sbin.libvirtd': '/usr/bin/systemctl PUx,\n' },
      /^ok/,
    ],
    [
      'may, where AppArmor is off',
      { [library]: '', ...profile(''), 'sys/module/apparmor/parameters/enabled': 'N\n' },
      /^ok/,
    ],
    [
      'may not, by a boolean of SELinux',
      { [library]: '', 'sys/fs/selinux/booleans/virt_hooks_unconfined': '0 0\n' },
      /^problem: SELinux.*setsebool -P virt_hooks_unconfined on/,
    ],
    [
      'may, by a boolean of SELinux',
      { [library]: '', 'sys/fs/selinux/booleans/virt_hooks_unconfined': '1 1\n' },
      /^ok/,
    ],
    ['is not known where nothing was seen', {}, /^unknown/],
  ])('%s', (_, files, says) => expect(found(files).join('\n')).toMatch(says))

  it('is nobody’s business where none is set up', () => {
    const dir = newFolder()
    const reader = openReader(dir)
    const host = { files: reader, machine: reader, running: false } as Parameters<
      typeof libvirtHookCheck.run
    >[0]['host']
    expect(libvirtHookCheck.run({ host })).toEqual([])
  })
})
