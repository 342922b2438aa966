import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, expectRan, expectSettled, undo } from '../support/bind.ts'
import {
  applied,
  CMDLINE,
  kernelInstall,
  type Loader,
  loaderDir,
  MACHINE_ID,
  OURS,
  proxmox,
  proxmoxGrub,
  RELEASES,
  ROOT,
  sdbootutil,
  systemdBoot,
  treeOf,
  undone,
} from '../support/loaders.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'

const arch = 'boot/loader/entries/arch.conf'
const fallback = 'boot/loader/entries/arch-fallback.conf'
const drop = 'etc/default/grub.d/zz-vfio-scripts.cfg'
const made = (release: string): string => `boot/efi/loader/entries/${MACHINE_ID}-${release}.conf`
const options = (dir: string, path: string): string | undefined => /^options (.*)$/m.exec(textOf(dir, path) ?? '')?.[1]

describe('each loader whose arguments are in files is set up and taken back byte for byte', () => {
  it.each<[string, Loader, Record<string, string>, string[]]>([
    ['systemd-boot', systemdBoot, { [arch]: `${ROOT} rw ${OURS}`, [fallback]: `${ROOT} rw` }, []],
    [
      'systemd-boot with kernel-install',
      kernelInstall,
      Object.fromEntries(RELEASES.map((release) => [made(release), `${ROOT} ro quiet initrd=/x ${OURS}`])),
      [],
    ],
    ['sdbootutil', sdbootutil, { [CMDLINE]: `${ROOT} splash=silent quiet ${OURS}` }, ['sdbootutil update-all-entries']],
    [
      'proxmox-boot-tool',
      proxmox,
      { [CMDLINE]: `root=ZFS=rpool/ROOT/pve-1 boot=zfs ${OURS}` },
      ['proxmox-boot-tool refresh'],
    ],
    [
      'proxmox-boot-tool-grub',
      proxmoxGrub,
      { [drop]: `GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT ${OURS}"` },
      ['proxmox-boot-tool refresh'],
    ],
  ])('%s', (_, loader, lines, commands) => {
    const dir = loaderDir(loader)
    const before = treeOf(dir)
    expect(applied(dir)).toEqual(commands)
    for (const [path, line] of Object.entries(lines)) {
      const rows = (textOf(dir, path) ?? '').trimEnd().split('\n')
      expect(rows.at(-1)?.replace(/^options /, ''), path).toBe(line)
    }
    const after = treeOf(dir)
    expectSettled(dir, card)
    expect(treeOf(dir)).toBe(after)
    // The entries are not made again: its command was only printed.
    expectRan(
      bind(dir, '--status'),
      1,
      loader === sdbootutil ? /drifted.*sdbootutil update-all-entries/s : /reboot-needed/,
    )
    expect(undone(dir)).toEqual(commands)
    expect(treeOf(dir)).toBe(before)
  })
})

describe('entries of the Boot Loader Specification', () => {
  it.each([
    ['tabs', `title\tArch\nlinux\t/vmlinuz-linux\noptions\t${ROOT}\trw\n`, `options\t${ROOT}\trw ${OURS}\n`],
    ['several options lines', `linux /v\noptions ${ROOT}\n# mine\noptions rw quiet\n`, `options rw quiet ${OURS}\n`],
    ['CRLF', `linux /v\r\noptions ${ROOT} rw\r\n`, `options ${ROOT} rw ${OURS}\r\n`],
    ['quotes inside', `linux /v\noptions ${ROOT} dyndbg="file a.c +p"\n`, `dyndbg="file a.c +p" ${OURS}\n`],
    ['quotes around it all', `linux /v\noptions "${ROOT} rw"\n`, `options "${ROOT} rw ${OURS}"\n`],
    ['no end of line', `linux /v\noptions ${ROOT} rw`, `options ${ROOT} rw ${OURS}`],
    ['no options', 'linux /v\ninitrd /i\n', `initrd /i\noptions ${OURS}\n`],
    [
      'a list',
      `linux /v\noptions vfio_pci.ids=1b21:2142 ${ROOT}\n`,
      `vfio_pci.ids=1b21:2142,10de:1cb6,10de:0fb9 ${ROOT} intel_iommu=on\n`,
    ],
    ['arguments of init', `linux /v\noptions ${ROOT} -- single-thing\n`, `${ROOT} ${OURS} -- single-thing\n`],
  ])('%s', (_, text, says) => {
    const dir = loaderDir(systemdBoot, { [arch]: text })
    const before = treeOf(dir)
    expect(applied(dir)).toEqual([])
    expect(textOf(dir, arch)).toContain(says)
    expectSettled(dir, card)
    undone(dir)
    expect(treeOf(dir)).toBe(before)
  })

  it('of other systems, and for when nothing else boots, stay as they are', () => {
    const others = {
      'boot/loader/entries/windows.conf': 'title Windows\nefi /EFI/Microsoft/Boot/bootmgfw.efi\n',
      'boot/loader/entries/memtest.conf': 'title Memtest86+\nefi /memtest86+/memtest.efi\n',
      'boot/loader/entries/rescue.conf': `title Arch\nlinux /v\noptions ${ROOT} systemd.unit=rescue.target\n`,
    }
    const dir = loaderDir(systemdBoot, others)
    applied(dir)
    for (const [path, text] of Object.entries(others)) expect(textOf(dir, path)).toBe(text)
    expect(options(dir, fallback)).toBe(`${ROOT} rw`)
    expect(options(dir, arch)).toBe(`${ROOT} rw ${OURS}`)
  })

  it('that a person calls a fallback, and that boot a kernel like any other, are set up', () => {
    const lts = 'boot/loader/entries/lts-fallback.conf'
    const entry = `title Arch (LTS fallback)\nlinux /vmlinuz-linux-lts\ninitrd /initramfs-linux-lts.img\noptions ${ROOT} rw\n`
    const dir = loaderDir(systemdBoot, { [lts]: entry })
    applied(dir)
    expect(options(dir, lts)).toBe(`${ROOT} rw ${OURS}`)
    expect(options(dir, fallback)).toBe(`${ROOT} rw`)
  })

  it('that boot a fallback image, and no other entry the same kernel with its usual one, are set up', () => {
    const dir = loaderDir(systemdBoot)
    rmSync(join(dir, arch))
    applied(dir)
    expect(options(dir, fallback)).toBe(`${ROOT} rw ${OURS}`)
  })

  it('that are all for recovery are refused: nothing would be set for any boot', () => {
    const dir = loaderDir(systemdBoot)
    rmSync(join(dir, fallback))
    writeIn(dir, arch, (textOf(dir, arch) ?? '').replace(' rw', ' rw single'))
    const before = treeOf(dir)
    expectRan(apply(dir, card), 2, /arch\.conf: for recovery only, by the kernel or initramfs that they boot/)
    expect(treeOf(dir)).toBe(before)
  })

  it('that a person edited since keep the edit', () => {
    const dir = loaderDir(systemdBoot)
    applied(dir)
    writeIn(dir, arch, (textOf(dir, arch) ?? '').replace(' rw ', ' rw quiet '))
    expectRan(undo(dir), 0, /arch\.conf was changed since/)
    expect(options(dir, arch)).toBe(`${ROOT} rw quiet`)
  })
})

describe('kernel-install', () => {
  const release = '6.9.3-1'

  it('finds a command line that is whole, without what loaders and the escape hatch add', () => {
    const line = `BOOT_IMAGE=/v ${ROOT} ro initrd=/x vfio-pci.ids= vfio_scripts.override=off quiet`
    const dir = loaderDir(kernelInstall, {
      [made(RELEASES[0])]: `linux /v\noptions ${line}\n`,
      [made(RELEASES[1])]: `linux /v\noptions ${line.replace('vfio-pci.ids= vfio_scripts.override=off ', '')}\n`,
    })
    applied(dir)
    expect(textOf(dir, CMDLINE)).toBe(`${ROOT} ro quiet ${OURS}\n`)
  })

  it('is not given a line that nobody knows', () => {
    const dir = loaderDir(kernelInstall, {
      [made(RELEASES[0])]: 'linux /v\noptions root=UUID=1 ro\n',
      [made(RELEASES[1])]: 'linux /v\noptions root=UUID=2 ro\n',
    })
    const before = snapshotOf(dir)
    expectRan(apply(dir, card), 2, /\/etc\/kernel\/cmdline is missing, and what it has to hold is not known/)
    expect(snapshotOf(dir)).toBe(before)
  })

  it('has made an entry since: an undo takes our arguments out of it too', () => {
    const dir = loaderDir(kernelInstall)
    applied(dir)
    const text = `# Boot Loader Specification type#1 entry\nlinux /v-${release}\noptions ${ROOT} ro quiet ${OURS} systemd.machine_id=x\n`
    writeIn(dir, made(release), text)
    writeIn(dir, `lib/modules/${release}/modules.dep`, '')
    expectRan(undo(dir), 0, /made since, with what is taken back here/)
    expect(options(dir, made(release))).toBe(`${ROOT} ro quiet systemd.machine_id=x`)
    expect(textOf(dir, CMDLINE)).toBeNull()
  })

  it('keeps its line until the last card is gone', () => {
    const dir = loaderDir(kernelInstall)
    const before = treeOf(dir)
    applied(dir)
    expectRan(apply(dir, '03:00'), 0)
    expectRan(undo(dir, card), 0)
    expect(textOf(dir, CMDLINE)).toMatch(new RegExp(`^${ROOT} ro quiet intel_iommu=on vfio-pci\\.ids=\\S+\\n$`))
    expect(textOf(dir, CMDLINE)).not.toContain('10de:1cb6')
    undone(dir)
    expect(treeOf(dir)).toBe(before)
  })
})

describe('two loaders that are set up', () => {
  it('are told apart by the person', () => {
    const dir = loaderDir(systemdBoot, { 'boot/limine.conf': '/Arch\n    cmdline: quiet\n' })
    const before = snapshotOf(dir)
    expectRan(
      apply(dir, card),
      2,
      /more than one boot loader is here: systemd-boot \(.*\), limine \(.*\); name it: --bootloader systemd-boot\|limine/,
    )
    expect(snapshotOf(dir)).toBe(before)
    expectRan(apply(dir, card, '--bootloader', 'systemd-boot'), 0)
    expect(options(dir, arch)).toBe(`${ROOT} rw ${OURS}`)
  })
})
