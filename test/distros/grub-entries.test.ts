import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, it } from 'vitest'
import { grub } from '../../distros/bootloaders/grub.ts'
import { readKernels } from '../../lib/host/installed-kernels.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { needs } from '../support/needs.ts'
import { debianGrub as debian, hostWith } from '../support/root.ts'

const releases = ['6.1.0-37-amd64', '6.12.1-custom']
const kernels = Object.fromEntries(
  releases.flatMap((release) => [
    [`/lib/modules/${release}/modules.dep`, ''],
    [`/boot/vmlinuz-${release}`, 'kernel'],
  ]),
)

/** A grub.cfg as the real generator writes it, with a Linux that os-prober found on another disk. */
function generated(root: string, normal: string, all = ''): string {
  const source = readFileSync('/etc/grub.d/10_linux', 'utf8').replaceAll(' /boot/', ` ${root}/boot/`)
  const probe = `${root}/probe`
  writeFileSync(
    probe,
    '#!/bin/sh\ncase "$*" in *fs_uuid*) echo 0 ;; *abstraction*) ;; *partmap*) echo gpt ;; *) echo ext2 ;; esac\n',
    { mode: 0o755 },
  )
  const { stdout, stderr, status } = spawnSync('sh', ['-c', source], {
    env: {
      PATH: process.env.PATH,
      LC_ALL: 'C',
      pkgdatadir: '/usr/share/grub',
      grub_probe: probe,
      GRUB_DEVICE: '/dev/nowhere1',
      GRUB_DEVICE_BOOT: '/dev/nowhere1',
      GRUB_DEVICE_UUID: 'x',
      GRUB_DISTRIBUTOR: 'Debian',
      GRUB_CMDLINE_LINUX: all,
      GRUB_CMDLINE_LINUX_DEFAULT: normal,
      GRUB_RECOVERY_TITLE: 'recovery mode',
    },
    encoding: 'utf8',
  })
  expect(`${status} ${stderr}`).toMatch(/^0 (dpkg: warning: .*\n)*Found linux image/)
  const foreign = `menuentry 'Debian (on /dev/sdb1)' --class gnu-linux $menuentry_id_option 'osprober-gnulinux-simple-x' {\n\tlinux /boot/vmlinuz-${releases[0]} root=/dev/sdb1 ro quiet\n}\n`
  // On the system itself its paths start at its own root.
  const text = `${stdout.replace(/(linux\s+)\S*(?=\/boot\/)/g, '$1')}${foreign}`
  writeFileSync(`${root}/boot/grub/grub.cfg`, text)
  const checked = spawnSync('grub-script-check', [`${root}/boot/grub/grub.cfg`], { encoding: 'utf8' })
  expect(checked).toMatchObject({ status: 0, stderr: '' })
  return text
}

needs('grub-script-check').describe('entries of a real grub-mkconfig', () => {
  const tokens = ['intel_iommu=on', 'vfio-pci.ids=10de:1cb6']
  const observe = (normal: string, all = '', absent = false, more: Record<string, string> = {}) => {
    const host = hostWith({ ...debian, ...kernels, ...more })
    generated(host.root, normal, all)
    return grub.open({ ...host, files: openReader(host.root) }).observe(tokens, absent)
  }
  const ours = 'quiet intel_iommu=on vfio-pci.ids=1b21:2142,10de:1cb6'

  it('that have it; recovery entries and other systems do not count', () => {
    expect(observe(ours)).toEqual([
      { ok: true, proof: '/boot/grub/grub.cfg: 3 of 3 normal entries have intel_iommu=on vfio-pci.ids=10de:1cb6' },
    ])
  })

  it('that lack it are named', () => {
    const [seen] = observe('quiet intel_iommu=on')
    expect(seen?.ok).toBe(false)
    expect(seen?.proof).toContain(
      '0 of 3 normal entries have intel_iommu=on vfio-pci.ids=10de:1cb6; not: Debian GNU/Linux, Debian GNU/Linux, with Linux 6.12.1-custom, ',
    )
  })

  it('whose recovery ones have it too: that is told', () => {
    const [seen] = observe('quiet', ours)
    expect(seen?.ok).toBe(true)
    expect(seen?.proof).toMatch(/; 2 recovery entries have it too/)
  })

  it('that are missing for a kernel are named', () => {
    const host = hostWith({ ...debian, ...kernels })
    generated(host.root, ours)
    for (const [path, text] of Object.entries({ '/boot/vmlinuz-6.13.0': '', '/lib/modules/6.13.0/modules.dep': '' })) {
      mkdirSync(dirname(host.root + path), { recursive: true })
      writeFileSync(host.root + path, text)
    }
    const files = openReader(host.root)
    const seen = grub.open({ ...host, files, kernels: readKernels(files) }).observe(tokens, false)
    expect(seen.filter(({ ok }) => ok === false)).toEqual([
      { ok: false, proof: '/boot/grub/grub.cfg: Linux 6.13.0 has no entry' },
    ])
  })

  it('after an undo', () => {
    expect(observe('quiet', '', true)).toEqual([{ ok: true, proof: expect.stringContaining(': 0 entries have') }])
    expect(observe(ours, '', true)[0]).toMatchObject({
      ok: false,
      proof: expect.stringContaining(': 3 entries have'),
    })
    expect(observe('quiet', 'intel_iommu=on', true)[0]?.ok).toBe(false)
  })

  it('keep quotes as they are', () => {
    expect(observe(`${ours} dyndbg="func really_probe +p" acpi_osi="!Windows 2012"`)[0]?.ok).toBe(true)
  })
})

describe('a grub.cfg', () => {
  const tokens = ['intel_iommu=on']
  it('with entries of the Boot Loader Specification does not say', () => {
    const host = hostWith({ ...debian, ...kernels, '/boot/grub/grub.cfg': 'insmod blscfg\nblscfg\n' })
    expect(grub.open(host).observe(tokens, false)[0]).toMatchObject({
      ok: null,
      proof: expect.stringContaining('/boot/loader/entries'),
    })
  })

  it('with another system alone does not count', () => {
    const entry = `menuentry "Other" $menuentry_id_option 'osprober-x' {\n  linux /boot/vmlinuz-6.1.0-37-amd64 intel_iommu=on\n}\n`
    const host = hostWith({ ...debian, ...kernels, '/boot/grub/grub.cfg': entry })
    expect(
      grub
        .open(host)
        .observe(tokens, false)
        .map(({ ok }) => ok),
    ).toEqual([false, false, null])
    expect(grub.open(host).observe(tokens, true)[0]?.ok).toBe(true)
  })

  it('with an entry that a person calls a rescue, and that boots as any other does, lacks what that lacks', () => {
    const entry = (title: string, more: string): string =>
      `menuentry '${title}' {\n\tlinux\t/boot/vmlinuz-6.1.0-37-amd64 root=/dev/sda1 ro${more}\n}\n`
    const text = entry('Debian (my rescue)', '') + entry('Debian (Rettung)', ' systemd.unit=rescue.target')
    const host = hostWith({ ...debian, ...kernels, '/boot/grub/grub.cfg': text })
    const [, seen] = grub.open(host).observe(tokens, false).slice(-2)
    expect(seen).toEqual({
      ok: false,
      proof: expect.stringMatching(/0 of 1 normal entries .*; not: Debian \(my rescue\)/),
    })
  })

  it('with images named by the package, as Arch does', () => {
    const entry = `menuentry 'Arch Linux' --class arch {\n\tlinux\t/vmlinuz-linux root=/dev/sda1 rw intel_iommu=on\n}\n`
    const host = hostWith({
      ...debian,
      '/lib/modules/6.17.1-arch1-1/modules.dep': '',
      '/boot/vmlinuz-linux': '',
      '/boot/grub/grub.cfg': entry,
    })
    expect(grub.open(host).observe(tokens, false)).toEqual([{ ok: true, proof: expect.stringContaining('1 of 1') }])
  })
})
