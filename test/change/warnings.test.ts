import { describe, expect, it } from 'vitest'
import { skippedLines, warningLines, warningNotes } from '../../lib/change/warnings.ts'
import { applyRunning as apply, can, files, GOOD, journal, systemThat } from '../support/chroot.ts'
import { type Files, proxmox } from '../support/loaders.ts'
import { needs } from '../support/needs.ts'
import { textOf } from '../support/system.ts'

const SKIP = "WARN: /dev/disk/by-uuid/2BAD-0002 does not exist - clean '/etc/kernel/proxmox-boot-uuids'! - skipping"

/** A Proxmox with a mirror: its refresh writes the line to the ESPs that are there, and says what this says. */
function proxmoxThat(says: string): Files {
  return {
    ...proxmox.files,
    'etc/kernel/proxmox-boot-uuids': 'ABCD-1234\n2BAD-0002\n',
    'boot/esp-ABCD-1234': 'as before\n',
    'usr/sbin/proxmox-boot-tool': `#!/bin/sh\ncp /etc/kernel/cmdline /boot/esp-ABCD-1234\n${says}\n`,
  }
}

needs('root, and a busybox that stands alone', can).describe('a command that succeeds, and warns', () => {
  it('what a refresh skipped is not made: all is put back, the ESP that it wrote too', () => {
    const dir = systemThat(GOOD, proxmoxThat(`echo "${SKIP}" >&2`), false)
    const line = textOf(dir, 'etc/kernel/cmdline')
    const ran = apply(dir)
    expect(ran.stderr).toMatch(
      /refresh did not do all of its work: WARN: \/dev\/disk\/by-uuid\/2BAD-0002 .* nothing is/,
    )
    expect(ran.code).toBe(2)
    expect(textOf(dir, 'etc/kernel/cmdline')).toBe(line)
    expect(textOf(dir, 'boot/esp-ABCD-1234')).toBe(line)
    expect(journal(dir)).toEqual([])
  })

  it('a refresh that says what it copies is done', () => {
    const dir = systemThat(
      GOOD,
      proxmoxThat('echo "Copying and configuring kernels on /dev/disk/by-uuid/ABCD-1234"'),
      false,
    )
    const ran = apply(dir)
    expect(ran.stderr).not.toMatch(/says:/)
    expect(ran.code).toBe(0)
    expect(textOf(dir, 'boot/esp-ABCD-1234')).toContain('intel_iommu=on')
  })

  it('an image that its generator calls incomplete is none, whatever its exit code', () => {
    const dir = systemThat(
      `${GOOD}\necho "==> WARNING: errors were encountered during the build. The image may not be complete."`,
    )
    const before = files(dir)
    expect(apply(dir)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/did not do all of its work: ==> WARNING/),
    })
    expect(files(dir)).toBe(before)
  })

  it('a generator that warns is done, and the person reads it, not a hundred times', () => {
    const noise =
      'for n in 1 2 3 4 5 6; do echo "W: no module $n" >&2; echo "W: Possible missing firmware $n.bin" >&2; done'
    const dir = systemThat(`${noise}\n${GOOD}`)
    const before = files(dir)
    const ran = apply(dir)
    expect(ran.stderr.match(/says: W: no module/g)).toHaveLength(4)
    expect(ran.stderr).not.toContain('firmware')
    expect(ran.stderr).toMatch(/update-initramfs -u -k \S+ says 2 more such lines: --verbose shows all/)
    expect(ran.code).toBe(0)
    expect(files(dir)).not.toBe(before)
  })
})

describe('lines that warn', () => {
  it.each([
    'W: mkconf: MD subsystem is not loaded, thus I cannot scan for arrays.',
    '==> WARNING: errors were encountered during the build. The image may not be complete.',
    "dracut[E]: Module 'x' cannot be found.",
    "dracut[W]: Module 'systemd-pcrphase' depends on 'x', which can't be installed",
    'dracut-install: ERROR: installing /etc/x',
    'error: no such device',
    'WARN: Mount of /dev/disk/by-uuid/X failed - skipping',
  ])('%s', (line) => expect(warningLines(`one\n${line}\r\n${line}\ntwo`)).toEqual([line]))

  it.each([
    'W: Possible missing firmware /lib/firmware/amdgpu/x.bin for module amdgpu',
    '==> WARNING: Possibly missing firmware for module: qat_6xxx',
    'Warning: os-prober will not be executed to detect other bootable partitions.',
    'Finished with 0 errors',
    '==> Image generation successful',
    'adding module error-injection.ko, and skipped_tests',
    'Found initrd image: /boot/initrd.img',
    'No /etc/kernel/proxmox-boot-uuids found, skipping ESP sync.',
  ])('not: %s', (line) => expect(warningLines(line)).toEqual([]))

  it('only some say that something was skipped', () => {
    const plain = 'Neither systemd-boot nor GRUB is initialised on it, skipping'
    expect(skippedLines(`W: x\n${SKIP}\n${plain}\n`)).toEqual([SKIP, plain])
  })

  it('a long command is named by its first words', () => {
    const install = `apt-get install -y --no-install-recommends qemu-system-x86 ${'package '.repeat(9)}`
    expect(warningNotes(install, 'W: x\n')).toEqual([
      'apt-get install -y --no-install-recommends qemu-system-x86 … says: W: x',
    ])
    expect(warningNotes('update-initramfs -u -k all', 'W: x\n')).toEqual(['update-initramfs -u -k all says: W: x'])
  })
})
