import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { adapters, DISTROS } from '../../distros/index.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { apply, card, tune } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { needs, REAL_FILES } from '../support/needs.ts'
import { PROJECT } from '../support/run.ts'
import { snapshotOf, systemDir, writeIn } from '../support/system.ts'

/** Other people's os-release files, kept beside the checkout where there are any. */
const FILES = `${PROJECT}../shared/machines/os-release`
const files = existsSync(FILES) ? readdirSync(FILES) : []

function found(text: string | null, path = 'etc/os-release'): { name: string; why: string } {
  const dir = scratchDir('os-release')
  if (text !== null) writeIn(dir, path, text)
  const { adapter, why } = adapters.findDistro(openReader(dir))
  return { name: adapter?.name ?? 'unknown', why }
}
const family = (text: string | null, path?: string): string => found(text, path).name

describe('every adapter', () => {
  it.each(DISTROS.map((distro) => [distro.name, distro] as const))('%s is complete', (_, distro) => {
    expect(distro.documentation).toMatch(/^https:\/\//)
    expect(distro.packages.command).not.toBe('')
    expect(Object.keys(distro.packages.packageNames).sort()).toEqual([
      'libvirt',
      'osinfo',
      'ovmf',
      'qemu',
      'swtpm',
      'virt-install',
      'virtiofsd',
    ])
    for (const names of Object.values(distro.packages.packageNames)) expect(names).toMatch(/^[\w./+-]+( [\w./+-]+)*$/)
    for (const id of distro.ids) expect(id).toMatch(/^[a-z0-9._-]+(\/[a-z0-9._-]+)?$/)
  })

  it('has names of its own', () => {
    const ids = DISTROS.flatMap((distro) => distro.ids)
    expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([])
    expect(new Set(DISTROS.map(({ name }) => name)).size).toBe(DISTROS.length)
  })
})

it('where nothing lasts, no step is told that would not either', () => {
  const dir = systemDir({ machine: 'i9-14900k-vmd', files: { 'usr/bin/midclt': '' } })
  const before = snapshotOf(dir)
  const ran = apply(dir, card)
  expect(ran).toMatchObject({ code: 2, stdout: '' })
  expect(ran.stderr).toMatch(/^bind-vfio: TrueNAS is not set up here: .*; nothing was written\n$/)
  expect(tune(dir, '--hugepages', '2G').stderr).toMatch(
    /^tune-host: TrueNAS is not set up here: .*; nothing was written\n$/,
  )
  expect(snapshotOf(dir)).toBe(before)
})

it('NixOS may have its root in memory: its files are described elsewhere', () => {
  const dir = scratchDir('os-release')
  writeIn(dir, 'etc/os-release', 'ID=nixos\n')
  writeIn(dir, 'proc/self/mountinfo', '40 1 0:27 / / rw - tmpfs tmpfs rw\n')
  expect(adapters.findDistro(openReader(dir)).adapter?.name).toBe('NixOS')
})

describe('a distribution is found', () => {
  it.each([
    ['by its ID', 'ID=arch\n', 'Arch Linux'],
    ['by its nearest parent', 'ID=new\nID_LIKE="nobody ubuntu arch"\n', 'Debian and Ubuntu'],
    ['by its ID before its parents', 'ID=rocky\nID_LIKE="fedora arch"\n', 'RHEL and its rebuilds'],
    ['by its variant', 'ID=fedora\nVARIANT_ID=silverblue\n', 'Fedora Atomic'],
    ['by its variant in quotes', "ID='fedora'\nVARIANT_ID='coreos'\n", 'Fedora Atomic'],
    ['by the ID of a variant', 'ID=bazzite\nID_LIKE="fedora"\nVARIANT_ID=bazzite-nvidia\n', 'Fedora Atomic'],
    ['as the family of a variant that says nothing', 'ID=fedora\nVARIANT_ID=workstation\n', 'Fedora'],
    ['with CRLF line ends', 'NAME=Fedora\r\nID=fedora\r\nVARIANT_ID="kinoite"\r\n', 'Fedora Atomic'],
    ['with capitals and blanks', 'ID="Zorin OS"\n', 'Debian and Ubuntu'],
    ['without an end of line', 'ID=gentoo', 'Gentoo'],
    ['among comments', '# ID=arch\nID=nixos # not a comment in os-release(5)\nID=void\n', 'unknown'],
    ['without ID by its parents', 'NAME=Something\nID_LIKE=suse\n', 'openSUSE and SLE'],
    ['not, when it is read-only images of its own kind', 'ID=steamos\nID_LIKE=arch\n', 'unknown'],
    ['by the name of Gnoppix alone', 'ID=gnoppix\n', 'Debian and Ubuntu'],
    ['by the name of TencentOS alone', 'ID="tencentos"\n', 'RHEL and its rebuilds'],
    ['not, when it is images that name Arch Linux', 'ID=chimeraos\nID_LIKE=arch\n', 'unknown'],
    ['not, by a name within another', 'ID=archaic\nID_LIKE="debianish"\n', 'unknown'],
    ['not, when it says nothing', '', 'unknown'],
  ])('%s', (_, text, name) => expect(family(text)).toBe(name))

  it.each([
    ['TrueNAS SCALE', 'usr/bin/midclt', /^TrueNAS is not set up here: .*Isolated GPU Devices/],
    ['Unraid', 'etc/unraid-version', /^Unraid is not set up here: .*System Devices/],
    ['SteamOS', 'usr/bin/steamos-readonly', /^SteamOS is not set up here: its updates replace the system.*https:/],
    ['ChimeraOS', 'usr/bin/frzr-deploy', /^ChimeraOS is not set up here: its updates replace the system/],
    ['Vanilla OS', 'usr/bin/abroot', /^Vanilla OS is not set up here: .*abroot kargs edit/],
    ['Harvester', 'etc/harvester-release.yaml', /^Harvester is not set up here: .*pcidevices-controller/],
    ['Kairos', 'etc/kairos-release', /^Kairos is not set up here: .*cloud-config/],
    ['blendOS', 'usr/bin/akshara', /^blendOS is not set up here: .*akshara update/],
    ['any OSTree', 'ostree/deploy/x/deploy/0.0.origin', /is a deployment of OSTree; .*set-kargs/],
    ['OpenShift', 'etc/machine-config-daemon/currentconfig', /^OpenShift is not set up here: .*MachineConfig/],
  ])('not, when it only calls itself by its parent: %s', (_, path, why) => {
    const dir = scratchDir('os-release')
    writeIn(dir, 'etc/os-release', 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    writeIn(dir, path, '')
    const answer = adapters.findDistro(openReader(dir))
    expect(answer.adapter).toBe(undefined)
    expect(answer.why).toMatch(why)
  })

  it.each([
    ['/usr is an image', '40 1 254:1 / /usr ro - erofs /dev/dm-1 ro', undefined],
    ['the root is one', '40 1 7:0 / / ro - squashfs /dev/loop0 ro', undefined],
    ['a live medium', '40 1 0:27 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/cow', undefined],
    ['the root is in memory', '40 1 0:27 / / rw - tmpfs tmpfs rw', undefined],
    [
      'something above a real root',
      '40 1 8:1 / / rw - ext4 /dev/sda1 rw\n41 40 0:27 / /etc rw - overlay o rw',
      'Debian and Ubuntu',
    ],
    ['an image is somewhere else', '40 1 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro', 'Debian and Ubuntu'],
  ])('by evidence, whatever its name: %s', (_, mount, name) => {
    const dir = scratchDir('os-release')
    writeIn(dir, 'etc/os-release', 'ID=debian\n')
    writeIn(dir, 'proc/self/mountinfo', `${mount}\n`)
    const { adapter, why } = adapters.findDistro(openReader(dir))
    expect(adapter?.name).toBe(name)
    if (name === undefined)
      expect(why).toMatch(/is an image \((erofs|squashfs)\).*set it up where that is built|forgets this/)
  })

  it.each([
    ['Guix', 'ID=guix\n', /kernel-arguments and initrd-modules .*guix system reconfigure: https:/],
    ['Ubuntu Core', 'ID=ubuntu-core\nID_LIKE=debian\n', /gadget snap/],
    ['Flatcar', 'ID=flatcar\nID_LIKE=coreos\n', /provisioning/],
    ['Talos', 'ID=talos\n', /extraKernelArgs/],
    ['Bottlerocket', 'ID=bottlerocket\nID_LIKE=fedora\n', /settings\.boot/],
    ['TrueNAS', 'ID=truenas\nID_LIKE=debian\n', /Isolated GPU Devices/],
    ['Red Hat CoreOS', 'ID=rhcos\nID_LIKE="rhel fedora"\n', /MachineConfig/],
    ['Endless OS', 'ID=endless\nID_LIKE=debian\n', /ostree admin instutil set-kargs/],
    ['Vanilla OS 2', 'PRETTY_NAME="Vanilla OS 2 stable"\nID=ubuntu\nID_LIKE=debian\n', /abroot kargs edit/],
  ])('%s: not here, with the reason and the way that lasts', (_, text, why) => {
    expect(found(text)).toMatchObject({ name: 'unknown', why: expect.stringMatching(why) })
  })

  it('in /usr/lib where /etc has none', () => expect(family('ID=arch\n', 'usr/lib/os-release')).toBe('Arch Linux'))

  it('or is unknown, with the reason and what to do', () => {
    expect(found(null)).toEqual({
      name: 'unknown',
      why: 'an unknown system (ID missing) is no distribution that is known here; if it works like one, name --bootloader and --initramfs',
    })
    expect(found('ID=xenenterprise\nID_LIKE="centos rhel fedora"\nPRETTY_NAME="XenServer 7"\n').why).toMatch(
      /^XenServer 7 \(ID xenenterprise\) is not set up here: its hypervisor is Xen/,
    )
  })
})

needs(REAL_FILES, files.length > 0).describe('real files', () => {
  it('each belong to a family, or are unknown', async () => {
    const lines = files.map((file) => `${file}\t${family(readFileSync(join(FILES, file), 'latin1'))}\n`)
    await expect(lines.join('')).toMatchFileSnapshot('../golden/distros/os-release.txt')
  })
})
