import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { addLibvirtMember, hasLibvirtMember, removeLibvirtMember } from '../../lib/edit/libvirt-conf.ts'
import { reloadCommands } from '../../lib/tune/reload.ts'
import { expectRan, tune, write } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { evaluateModule, HAS_NIX } from '../support/nix.ts'
import { hostWith } from '../support/root.ts'
import { has, runProgram } from '../support/run.ts'
import { snapshotOf, textOf } from '../support/system.ts'
import { host } from '../support/tune.ts'

// Devices that QEMU may open: a list of libvirt's qemu.conf, read back by the real libvirt.

const KEY = 'cgroup_device_acl'
const FILE = 'etc/libvirt/qemu.conf'
const shipped = `# This is the basic set of devices allowed / required by
# all virtual machines.
#
#cgroup_device_acl = [
#    "/dev/null", "/dev/full", "/dev/zero",
#    "/dev/random", "/dev/urandom",
#    "/dev/ptmx", "/dev/kvm"
#]
#
# RDMA migration requires the following extra files to be added to the list:
#   "/dev/infiniband/rdma_cm",

#save_image_format = "raw"
`
const started = '"/dev/null", "/dev/full", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/ptmx", "/dev/kvm"'
const TEXTS: [name: string, text: string, after: string][] = [
  ['is a comment', shipped, `${shipped}${KEY} = [ ${started}, "/dev/kvmfr0" ]\n`],
  ['is nowhere', 'user = "root"', `user = "root"\n${KEY} = [ ${started}, "/dev/userfaultfd", "/dev/kvmfr0" ]`],
  ['is set', `${KEY} = [ "/dev/null", '/dev/kvm' ]\n`, `${KEY} = [ "/dev/null", '/dev/kvm', "/dev/kvmfr0" ]\n`],
  ['is set and empty', `${KEY} = []\n`, `${KEY} = ["/dev/kvmfr0"]\n`],
  [
    'is set line by line',
    `${shipped}  ${KEY} = [\n    "/dev/null",\n    "/dev/kvm",\n]\ngroup = "root"\n`,
    `${shipped}  ${KEY} = [\n    "/dev/null",\n    "/dev/kvm", "/dev/kvmfr0",\n]\ngroup = "root"\n`,
  ],
]

let root: string | undefined

describe('a list that', () => {
  it.each(TEXTS)('%s gets a device, and loses it again', (_, text, after) => {
    expect(hasLibvirtMember(text, KEY, '/dev/kvmfr0')).toBe(false)
    const one = addLibvirtMember(text, KEY, '/dev/kvmfr0')
    expect(one).toBe(after)
    expect(addLibvirtMember(one, KEY, '/dev/kvmfr0')).toBe(one)
    const two = addLibvirtMember(one, KEY, '/dev/input/event3')
    expect(removeLibvirtMember(removeLibvirtMember(two, KEY, '/dev/kvmfr0'), KEY, '/dev/input/event3')).toBe(text)
    expect(removeLibvirtMember(removeLibvirtMember(two, KEY, '/dev/input/event3'), KEY, '/dev/kvmfr0')).toBe(text)
  })

  needs("virsh and libvirt's QEMU driver", has('virsh') && embedded('') === '').it(
    'is edited is one that libvirt reads',
    () => {
      for (const [, text] of TEXTS) {
        const after = addLibvirtMember(addLibvirtMember(text, KEY, '/dev/kvmfr0'), KEY, '/dev/input/event3')
        expect(embedded(after)).toBe('')
      }
      expect(embedded(`${KEY} = [ "/dev/null" "/dev/kvmfr0" ]\n`)).toMatch(/qemu\.conf:1: expecting a separator/)
    },
  )
})

/** What libvirt says against a qemu.conf: without a daemon, in a folder of its own, where it keeps what it saw of QEMU. */
function embedded(conf: string): string {
  if (!has('virsh')) return 'no libvirt'
  root ??= scratchDir('libvirt')
  mkdirSync(join(root, 'etc'), { recursive: true })
  writeFileSync(join(root, FILE.replace('libvirt/', '')), conf)
  const { code, stderr } = runProgram('virsh', ['-c', `qemu:///embed?root=${root}`, 'version'])
  return code === 0 ? '' : stderr || 'failed'
}

const LIB = 'usr/lib/x86_64-linux-gnu/libvirt.so.0'

describe('tune-host --qemu-device', () => {
  const device = ['--qemu-device', '/dev/kvmfr0']

  it('plans, applies once, adds and takes back byte for byte', () => {
    const dir = host({
      [FILE]: shipped,
      [`${LIB}.7003.0`]: '',
      'etc/apparmor.d/abstractions/libvirt-qemu': '  include if exists <abstractions/libvirt-qemu.d>\n',
    })
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, ...device), 1, /\/etc\/libvirt\/qemu\.conf +QEMU may open \/dev\/kvmfr0/)
    expectRan(tune(dir, ...device, ...write), 0)
    expect(textOf(dir, FILE)).toBe(TEXTS[0]?.[2])
    expect(textOf(dir, 'etc/apparmor.d/abstractions/libvirt-qemu.d/vfio-scripts')).toMatch(/^\/dev\/kvmfr0 rw,$/m)
    expectRan(tune(dir, ...device), 0, /Nothing to do/)
    expectRan(tune(dir, '--qemu-device', '/dev/input/event3', ...write), 0)
    expect(textOf(dir, FILE)).toContain('"/dev/kvmfr0", "/dev/input/event3" ]')
    expectRan(tune(dir, '--status'), 1, /ok +\/etc\/libvirt\/qemu\.conf says what it should/)
    writeFileSync(join(dir, FILE), `${textOf(dir, FILE)}user = "me"\n`)
    expectRan(tune(dir, '--undo', 'qemu-device', ...write), 0, /was changed since/)
    expect(textOf(dir, FILE)).toBe(`${shipped}user = "me"\n`)
    writeFileSync(join(dir, FILE), shipped)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('has libvirt read it again where it runs, and says what AppArmor wants', () => {
    const units = { '/usr/lib/systemd/system/virtqemud.service': '', '/etc/libvirt/qemu.conf': '' }
    const commands = (files: Record<string, string>): string[] =>
      reloadCommands(hostWith(files), ['/etc/libvirt/qemu.conf'], true).map(({ argv }) => argv.join(' '))
    expect(commands(units)).toEqual(['systemctl try-restart virtqemud.service'])
    expect(commands({ '/etc/init.d/libvirtd': '' })).toEqual(['rc-service --ifstarted libvirtd restart'])
    const both = { ...units, '/etc/init.d/libvirtd': '', '/usr/lib/systemd/systemd': '' }
    expect(commands(both)).toEqual(['systemctl try-restart virtqemud.service'])
    const dir = host({ [FILE]: shipped, 'etc/apparmor.d/abstractions/libvirt-qemu': '#include <local/x>\n' })
    expectRan(tune(dir, ...device), 1, /AppArmor: add to \/etc\/apparmor\.d\/local\/.*: \/dev\/kvmfr0 rw,/)
  })

  it('on NixOS is a part of the module', () => {
    const dir = host({}, { family: 'nixos' })
    const file = '/etc/nixos/vfio-host.nix'
    expectRan(tune(dir, ...device, '--output', file, '--apply'), 0)
    const module = textOf(dir, file) ?? ''
    const config = `namespaces = []\n${KEY} = [ ${started}, "/dev/userfaultfd", "/dev/kvmfr0" ]\n`
    if (HAS_NIX)
      expect(evaluateModule(module)).toEqual({ virtualisation: { libvirtd: { qemu: { verbatimConfig: config } } } })
    expectRan(tune(dir, '--qemu-device', '/dev/nvram', '--output', file), 2, /take them back first/)
  })

  it("on NixOS joins the list of the person's configuration, which stands but once", () => {
    const conf = 'var/lib/libvirt/qemu.conf'
    const file = '/etc/nixos/vfio-host.nix'
    const dir = host({ [conf]: `namespaces = []\n${KEY} = [ "/dev/null", "/dev/mine" ]\n` }, { family: 'nixos' })
    const refused = tune(dir, ...device, '--output', file, '--apply')
    expectRan(refused, 2, /your configuration has a cgroup_device_acl of its own/)
    expect(refused.stderr).toContain(`make yours say: ${KEY} = [ "/dev/null", "/dev/mine", "/dev/kvmfr0" ]`)
    expect(textOf(dir, file)).toBeNull()
    const has = host({ [conf]: `${KEY} = [ "/dev/kvmfr0" ]\n` }, { family: 'nixos' })
    expectRan(tune(has, ...device, '--output', file, '--apply'), 2, /configuration's cgroup_device_acl has it already/)
    // What our own module made is not theirs.
    const ours = host({}, { family: 'nixos' })
    expectRan(tune(ours, ...device, '--output', file, '--apply'), 0)
    const line = /^ *(cgroup_device_acl = .*)$/m.exec(textOf(ours, file) ?? '')?.[1]
    mkdirSync(join(ours, 'var/lib/libvirt'), { recursive: true })
    writeFileSync(join(ours, conf), `namespaces = []\n${line}\n`)
    expectRan(tune(ours, ...device, '--output', file, '--apply'), 0, /Nothing to do/)
  })

  it.each<[string, string, RegExp, Record<string, string>?]>([
    [
      'evdev where libvirt does it',
      '/dev/input/event3',
      /libvirt 9\.0\.0 opens it by itself .*since 7\.4\.0/,
      { [`${LIB}.9000.0`]: '' },
    ],
    ['devices of VFIO', '/dev/vfio/14', /libvirt opens it by itself for every <hostdev>/],
    ['shared memory', '/dev/shm/looking-glass', /is no device/],
    ['what is no device', '/etc/passwd', /not the path of a device/],
    ['a path that leaves /dev', '/dev/../etc/passwd', /not the path of a device/],
    ['a name with a quote', '/dev/a"b', /not the path of a device/],
  ])('refuses %s', (_, path, says, files) => {
    const dir = host({ [FILE]: shipped, ...files })
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, '--qemu-device', path, '--apply'), 2, says)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('refuses without libvirt', () => {
    expectRan(tune(host(), ...device), 2, /qemu\.conf is not there; --packages installs libvirt first/)
  })
})
