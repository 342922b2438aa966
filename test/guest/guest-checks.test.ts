import { chmodSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { noSuchFileCheck } from '../../lib/checks/guest-checks.ts'
import { domainHost, genDomain, iso } from '../support/domain.ts'
import { addBlock, addFiles, addMount } from '../support/fake/host.ts'
import { device } from '../support/judge.ts'
import type { Machine } from '../support/machine.ts'
import { type Ran, runScript } from '../support/run.ts'

const linux = ['--name', 'x', '--guest', 'linux']
const windows = ['--name', 'x', '--guest', 'windows10', '--disk', '/var/lib/libvirt/images/guest.qcow2']

const on = (change: (machine: Machine) => void, ...args: string[]): Ran => genDomain(domainHost(change), ...args)

/** Refused: exit 2, nothing to define by accident, and the guard's name. */
function expectRefused(ran: Ran, guard: string, ...parts: string[]): void {
  expect([ran.code, ran.stdout]).toEqual([2, ''])
  expect(ran.stderr).toContain(`gen-domain: refused (${guard}): `)
  for (const part of parts) expect(ran.stderr).toContain(part)
}

describe('gen-domain: devices', () => {
  const nouveau = (machine: Machine): void => {
    device(machine, '0000:02:00.0').driver = 'nouveau'
    device(machine, '0000:02:00.1').driver = 'snd_hda_intel'
  }

  it('a card that is bound for guests is taken without a word', () => {
    expect(on(() => {}, ...linux, '--gpu', '02:00', '--libvirt', '9.3.0').stderr).toBe('')
  })

  it('a card that the host drives is taken at start, which is said', () => {
    const ran = on(nouveau, ...linux, '--gpu', '02:00')
    expect(ran.code).toBe(0)
    expect(ran.stderr).toContain('0000:02:00.0: nouveau has it now; libvirt takes it when the guest starts')
    const qemu = on(nouveau, ...linux, '--gpu', '02:00', '--format', 'qemu')
    expect(qemu.stderr).toContain('nouveau has it now; QEMU does not take it by itself when the guest starts')
  })

  it('boot-vga and only-gpu are refused, and overridden by name', () => {
    const ran = on(() => {}, ...linux, '--gpu', '01:00')
    expectRefused(ran, 'only-gpu', '0000:01:00.0', 'also refused (boot-vga)', '--force only-gpu --force boot-vga')
    const forced = on(() => {}, ...linux, '--gpu', '01:00', '--force', 'boot-vga', '--force', 'only-gpu')
    expect(forced.code).toBe(0)
    expect(forced.stderr).toContain('The firmware shows its display on this GPU (--force boot-vga)')
  })

  it('a group that would be left half, a bridge, a part of a card', () => {
    expectRefused(
      on(() => {}, ...linux, '--pci', '00:1f.3'),
      'half-group',
      '0000:00:1f.6 is not among the chosen devices',
    )
    expectRefused(
      on(() => {}, ...linux, '--pci', '00:1a.0'),
      'bridge',
    )
    expectRefused(
      on(() => {}, ...linux, '--gpu', '02:00.0'),
      'partial-card',
      '0000:02:00.1',
    )
  })

  it('what shares the group and is set aside for guests may stay behind', () => {
    const aside = (machine: Machine): void => {
      for (const address of ['0000:00:1f.4', '0000:00:1f.5', '0000:00:1f.6'])
        device(machine, address).driver = 'vfio-pci'
      device(machine, '0000:00:1f.3').driver = 'vfio-pci'
    }
    expect(on(aside, ...linux, '--pci', '00:1f.3').code).toBe(0)
  })

  it('a reset that would hit the host', () => {
    const behind = (machine: Machine): void => {
      machine.devices['0000:02:03.0'] = {
        ...device(machine, '0000:00:1f.6'),
        group: 90,
        under: '0000:00:1a.0',
        reset: '',
      }
    }
    expectRefused(on(behind, ...linux, '--gpu', '02:00'), 'reset', '0000:02:03.0', '--force reset')
  })

  it('a GPU with the reset bug is said', () => {
    const navi = (machine: Machine): void => {
      device(machine, '0000:02:00.0').id = '1002:7310'
    }
    expect(on(navi, ...linux, '--gpu', '02:00').stderr).toContain('AMD Navi 10: known not to come back from a reset')
  })

  it('an NVMe drive boots where there is no disk', () => {
    const nvme = (machine: Machine): void => {
      device(machine, '0000:00:08.0').class = '010802'
    }
    expect(on(nvme, ...linux, '--pci', '00:08.0').stdout).toMatch(/<hostdev(?:(?!<\/hostdev)[\s\S])*<boot order='1'\/>/)
    expect(on(nvme, ...linux, '--pci', '00:08.0', '--disk', '/dev/sdb').stdout.match(/<boot order='1'/g)).toHaveLength(
      1,
    )
  })
})

describe('gen-domain: disks and files', () => {
  it('a disk that the host has mounted, whole or in part, or as a member of something larger', () => {
    const used = (machine: Machine): void => {
      addBlock(machine, 'sdc', { number: '8:32', udev: {} })
      addBlock(machine, 'sdc1', { under: '/sys/devices/virtual/block/sdc', number: '8:33', partition: true, udev: {} })
      addMount(machine, '8:33', '/home', 'ext4', '/dev/sdc1')
    }
    expectRefused(on(used, ...linux, '--disk', '/dev/sdc'), 'disk-in-use', '/dev/sdc → /dev/sdc1 is mounted on /home')
    expectRefused(on(used, ...linux, '--disk', '/dev/sdc1'), 'disk-in-use')
    expect(on(used, ...linux, '--disk', '/dev/sdc', '--force', 'disk-in-use').code).toBe(0)
    const pool = on(
      (machine) => addBlock(machine, 'sdc', { number: '8:32', udev: { ID_FS_TYPE: 'zfs_member' } }),
      ...linux,
      '--disk',
      '/dev/sdc',
    )
    expectRefused(pool, 'disk-in-use', 'a member of a ZFS pool')
  })

  it('Windows without a disk is said, and one with a disk of its own is not', () => {
    const bare = ['--name', 'x', '--guest', 'windows11']
    expect(on(() => {}, ...bare).stderr).toContain('the guest has no disk: add --disk FILE')
    expect(on(() => {}, ...bare, '--disk', '/var/lib/libvirt/images/guest.qcow2').stderr).not.toContain('no disk')
    expect(on(() => {}, ...bare, '--pci', '02:00').stderr).not.toContain('no disk')
  })

  it('an ISO without a UEFI boot image is said', () => {
    const bios = (machine: Machine): void => addFiles(machine, { '/var/lib/libvirt/images/old.iso': iso(false) })
    const args = [...windows, '--iso', '/var/lib/libvirt/images/old.iso']
    expect(on(bios, ...args).stderr).toContain('old.iso: holds no UEFI boot image')
    expect(on(bios, ...args, '--firmware', 'bios').stderr).toBe('')
    expect(on(bios, ...windows, '--iso', '/var/lib/libvirt/images/windows.iso').stderr).toBe('')
  })

  it("a file in a home that libvirt's user may not enter is said", () => {
    const dir = domainHost((machine) => addFiles(machine, { '/home/ada/w.iso': iso(true) }))
    const args = [...windows, '--iso', '/home/ada/w.iso']
    expect(genDomain(dir, ...args).stderr).toBe('')
    chmodSync(`${dir}/home/ada`, 0o700)
    expect(genDomain(dir, ...args).stderr).toContain(
      '/home/ada/w.iso: QEMU runs as libvirt-qemu, which may not pass /home/ada',
    )
  })

  it('a file that a capture of another machine does not hold is not known, not absent', () => {
    const ran = on(() => {}, ...linux, '--disk', '/var/lib/libvirt/images/none.qcow2')
    expect([ran.code, ran.stderr]).toEqual([0, expect.stringContaining('not seen: /var/lib/libvirt/images/none.qcow2')])
    expect(ran.stdout).toContain("type='qcow2'")
  })

  it('a file that is not there on this host is refused, with the command that makes it', () => {
    const absent = { path: '/var/lib/libvirt/images/none.qcow2', kind: 'absent', format: 'qcow2' } as const
    const says = noSuchFileCheck.run({ images: [absent], running: true })
    expect(JSON.stringify(says)).toContain('qemu-img create -f qcow2 /var/lib/libvirt/images/none.qcow2 100G')
  })

  it('hugepages that are not reserved are said, with what to boot with', () => {
    const ran = on(() => {}, ...linux, '--hugepages', '1G', '--memory', '32G')
    expect(ran.stderr).toContain('needs 32 free hugepages of 1048576 KiB, and there are 16 of 16')
    expect(ran.stderr).toContain('hugepagesz=1G hugepages=32')
  })
})

describe('gen-domain: what it says', () => {
  it('why, with --explain, and nothing of it on standard output', () => {
    const asked = [...windows, '--gpu', '02:00', '--vcpus', '4', '--libvirt', '9.3.0']
    const plain = on(() => {}, ...asked)
    const ran = on(() => {}, ...asked, '--explain')
    expect(ran.stdout).toBe(plain.stdout)
    for (const why of [
      "half of the host's",
      'libvirt chooses the UEFI image',
      'on one slot of the guest',
      'Hyper-V flags',
    ])
      expect(ran.stderr).toContain(why)
    expect(
      ran.stderr
        .split('\n')
        .filter(Boolean)
        .every((line) => line.startsWith('gen-domain: because: ')),
    ).toBe(true)
  })

  it('a folder that is shared is there, and has no bytes to read', () => {
    const ran = on((machine) => addFiles(machine, { '/srv/games/x': '' }), ...windows, '--share', '/srv/games')
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toContain("<source dir='/srv/games'/>")
  })

  it('what an older libvirt or QEMU cannot have', () => {
    const ran = on(() => {}, ...windows, '--libvirt', '4.4.0', '--share', '/srv', '--evdev', '/dev/input/x')
    for (const note of [
      "Hyper-V's frequencies is left out: libvirt 4.4.0 is older than 4.7.0",
      'virtiofs is left out',
      'evdev input is left out',
    ])
      expect(ran.stderr).toContain(note)
    expect(ran.stdout).not.toMatch(/virtiofs|evdev|frequencies/)
    const sound = on(() => {}, ...windows, '--audio', 'pipewire', '--libvirt', '10.0.0', '--qemu', '8.0')
    expect(sound.stderr).toBe('gen-domain: pipewire sound is left out: QEMU 8.0.0 is older than 8.1.0\n')
    expect(sound.stdout).not.toContain('pipewire')
    expect(on(() => {}, ...windows, '--nvidia-driver', '535').stderr).toContain(
      "NVIDIA's driver 535 starts in guests by itself",
    )
  })

  it('a ROM that AppArmor keeps from QEMU', () => {
    const rules = '/etc/apparmor.d/abstractions/libvirt-qemu'
    const debian = '  /usr/share/vgabios/** r,\n  include if exists <abstractions/libvirt-qemu.d>\n'
    const says = (rom: string, more: Record<string, string>, ...args: string[]): string => {
      const add = (machine: Machine): void => addFiles(machine, { [rom]: '', ...more })
      return on(add, ...linux, '--gpu', '02:00', '--libvirt', '9.3.0', '--rom', rom, ...args).stderr
    }
    const rom = '/var/lib/libvirt/images/card.rom'
    expect(says(rom, { [rules]: debian })).toMatch(/card\.rom: AppArmor keeps it from QEMU.* \/usr\/share\/vgabios\n$/)
    expect(says('/usr/share/vgabios/card.rom', { [rules]: debian })).toBe('')
    expect(says(rom, {})).toBe('')
    expect(says(rom, { [rules]: debian, '/sys/module/apparmor/parameters/enabled': 'N\n' })).toBe('')
    expect(says(rom, { [rules]: debian, [`${rules}.d/mine`]: `${rom} r,\n` })).toBe('')
    expect(says(rom, { [rules]: debian }, '--format', 'qemu', '--network', 'user')).toBe('')
  })

  it("the host's own versions, by its libraries and packages", () => {
    const old = (machine: Machine): void =>
      addFiles(machine, {
        '/usr/lib/x86_64-linux-gnu/libvirt.so.0.4004.1': '',
        '/var/lib/dpkg/status':
          'Package: qemu-system-x86\nStatus: install ok installed\nVersion: 1:2.11+dfsg-1ubuntu7\n\n',
      })
    const ran = runScript('gen-domain', ['--root', domainHost(old), ...windows])
    expect(ran.stderr).toContain('libvirt 4.4.1 is older than 4.7.0')
  })

  it('every option in --help', async () => {
    const { code, stdout } = runScript('gen-domain', ['--help'])
    expect(code).toBe(0)
    await expect(stdout).toMatchFileSnapshot('../golden/gen-domain/help.txt')
  })

  it('JSON: the guest as data, the findings and the XML', () => {
    const { schema, guest, findings, xml, changed } = JSON.parse(
      on(() => {}, ...linux, '--gpu', '02:00', '--json').stdout,
    )
    expect([schema, changed]).toEqual(['vfio-scripts/gen-domain/1', true])
    expect(guest).toMatchObject({
      name: 'x',
      preset: 'linux',
      cards: [{ functions: [{ address: '0000:02:00.0' }, {}] }],
    })
    expect(findings.map(({ code }: { code: string }) => code)).toContain('half-group')
    expect(xml).toContain('<name>x</name>')
  })
})
