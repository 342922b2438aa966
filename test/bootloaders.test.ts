import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, expectRan, undo } from './bind.ts'
import {
  applied,
  bootc,
  CMDLINE,
  type Files,
  grubby,
  IDS,
  kernelInstall,
  kernelstub,
  type Loader,
  limine,
  limineTool,
  loaderDir,
  MACHINE_ID,
  OURS,
  proxmox,
  proxmoxGrub,
  RELEASES,
  ROOT,
  refind,
  rpmOstree,
  sdbootutil,
  stubConfiguration,
  systemdBoot,
  undone,
} from './loaders.ts'
import { snapshotOf, textOf, writeIn } from './system.ts'

const arch = 'boot/loader/entries/arch.conf'
const fallback = 'boot/loader/entries/arch-fallback.conf'
const drop = 'etc/default/grub.d/zz-vfio-scripts.cfg'
const made = (release: string): string => `boot/efi/loader/entries/${MACHINE_ID}-${release}.conf`
const options = (dir: string, path: string): string | undefined => /^options (.*)$/m.exec(textOf(dir, path) ?? '')?.[1]

/** All that a boot is made from. */
const treeOf = (dir: string): string => ['etc', 'boot', 'usr'].map((one) => snapshotOf(join(dir, one))).join('\n')

/** Nothing is written, and the steps are these lines. */
function expectByHand(dir: string, steps: string[]): void {
  const before = snapshotOf(dir)
  const ran = apply(dir, card)
  expect(ran.code).toBe(2)
  expect(ran.stdout).toBe('')
  const lines = ran.stderr.trimEnd().split('\n')
  expect(lines[0]).toMatch(/is set up by hand\. Nothing was written; by hand:$/)
  expect(lines.slice(1).map((line) => line.replace(/^ {2}/, ''))).toEqual(steps)
  expect(snapshotOf(dir)).toBe(before)
}

describe('each loader whose arguments are in files is set up and taken back byte for byte', () => {
  it.each<[string, Loader, Record<string, string>, string[]]>([
    ['systemd-boot', systemdBoot, { [arch]: `${ROOT} rw ${IDS}`, [fallback]: `${ROOT} rw` }, []],
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
    expectRan(apply(dir, card), 0, /^Nothing to do/m)
    expect(treeOf(dir)).toBe(after)
    expectRan(bind(dir, '--status'), 1, /reboot-needed/)
    expect(undone(dir)).toEqual(commands)
    expect(treeOf(dir)).toBe(before)
  })
})

describe('each loader that keeps arguments itself is told in its own words', () => {
  const list = 'vfio_pci.ids=1b21:2142'
  const entry = 'boot/loader/entries/ostree-2-fedora.conf'
  const fedora = (release: string): string => `boot/loader/entries/${MACHINE_ID}-${release}.conf`
  const pop = 'boot/efi/loader/entries/Pop_OS-current.conf'
  const each = (files: (release: string) => Files): Files => Object.assign({}, ...RELEASES.map(files))
  const change = (dir: string, path: string, from: string, to: string): Files => ({
    [path]: (textOf(dir, path) ?? '').replace(from, to),
  })

  it.each<[string, Loader, string[], (dir: string) => Files, string[]]>([
    [
      'grubby: each kernel, the rescue entry left alone',
      grubby,
      RELEASES.map((release) => `grubby --update-kernel=/boot/vmlinuz-${release} --args=${OURS}`),
      (dir) => each((release) => change(dir, fedora(release), 'rhgb quiet', `rhgb quiet ${OURS}`)),
      RELEASES.map((release) => `grubby --update-kernel=/boot/vmlinuz-${release} --remove-args=${OURS}`),
    ],
    [
      'kernelstub: all options are given when some go',
      kernelstub,
      [`kernelstub --add-options ${OURS}`],
      (dir) => ({
        'etc/kernelstub/configuration': stubConfiguration(`quiet loglevel=0 splash ${OURS}`),
        ...change(dir, pop, 'loglevel=0 splash', `loglevel=0 splash ${OURS}`),
      }),
      ['kernelstub --options quiet loglevel=0 splash'],
    ],
    [
      'kernelstub: a list that is there',
      {
        ...kernelstub,
        files: { ...kernelstub.files, 'etc/kernelstub/configuration': stubConfiguration(`${list} quiet`) },
      },
      [`kernelstub --options ${list},10de:1cb6,10de:0fb9 quiet intel_iommu=on`],
      (dir) => ({
        'etc/kernelstub/configuration': stubConfiguration(`${list},10de:1cb6,10de:0fb9 quiet intel_iommu=on`),
        ...change(dir, pop, 'splash', `splash ${list},10de:1cb6,10de:0fb9 intel_iommu=on`),
      }),
      [`kernelstub --options ${list} quiet`],
    ],
    [
      'rpm-ostree: the deployment that boots next, and its list',
      rpmOstree,
      [`rpm-ostree kargs --replace=${list}=1b21:2142,10de:1cb6,10de:0fb9 --append-if-missing=intel_iommu=on`],
      (dir) => change(dir, entry, `${list} quiet`, `${list},10de:1cb6,10de:0fb9 quiet intel_iommu=on`),
      [
        'rpm-ostree kargs --delete-if-present=intel_iommu=on --replace=vfio_pci.ids=1b21:2142,10de:1cb6,10de:0fb9=1b21:2142',
      ],
    ],
  ])('%s', (_, loader, commands, does, inverses) => {
    const dir = loaderDir(loader)
    const before = treeOf(dir)
    expect(applied(dir)).toEqual(commands)
    // It was not run yet.
    expectRan(bind(dir, '--status'), 1, /drifted[\s\S]* 0 of \d normal entries have/)
    const files = does(dir)
    const old = Object.keys(files).map((path) => [path, textOf(dir, path) ?? ''] as const)
    for (const [path, text] of Object.entries(files)) writeIn(dir, path, `${text}`)
    expectRan(apply(dir, card), 0, /^Nothing to do/m)
    expectRan(bind(dir, '--status'), 1, /reboot-needed/)
    expect(undone(dir)).toEqual(inverses)
    for (const [path, text] of old) writeIn(dir, path, text)
    expect(treeOf(dir)).toBe(before)
  })

  it('grubby: the settings for kernels to come go into files, and two lists stay one', () => {
    const line = `${ROOT} ro vfio-pci.ids=1b21:2142 quiet`
    const dir = loaderDir(grubby, {
      [CMDLINE]: `${line}\n`,
      'etc/default/grub': 'GRUB_CMDLINE_LINUX="vfio-pci.ids=1b21:2142 quiet"\n',
      ...each((release) => ({ [fedora(release)]: `linux /vmlinuz-${release}\noptions ${line}\n` })),
    })
    const commands = applied(dir)
    const ids = 'vfio-pci.ids=1b21:2142,10de:1cb6,10de:0fb9'
    expect(commands[0]).toBe(`grubby --update-kernel=/boot/vmlinuz-${RELEASES[0]} --args=intel_iommu=on ${ids}`)
    expect(textOf(dir, CMDLINE)).toBe(`${ROOT} ro ${ids} quiet intel_iommu=on\n`)
    expect(textOf(dir, 'etc/default/grub')).toContain(`GRUB_CMDLINE_LINUX="${ids} quiet"\n`)
  })

  it('grubby: a first card stays when the second one goes', () => {
    const dir = loaderDir(grubby, { 'etc/default/grub': null })
    applied(dir)
    for (const release of RELEASES)
      writeIn(dir, fedora(release), `linux /vmlinuz-${release}\noptions ${ROOT} ro ${OURS}\n`)
    expect(JSON.parse(apply(dir, '03:00', '--json').stdout).commands[0][2]).toMatch(
      /^--args=vfio-pci\.ids=10de:1cb6,10de:0fb9,[0-9a-f]{4}:[0-9a-f]{4}/,
    )
    expect(JSON.parse(undo(dir, card, '--json').stdout).commands[0]).toEqual([
      'grubby',
      `--update-kernel=/boot/vmlinuz-${RELEASES[0]}`,
      '--remove-args=vfio-pci.ids=10de:1cb6,10de:0fb9',
    ])
  })
})

describe('entries of the Boot Loader Specification', () => {
  it.each([
    ['tabs', `title\tArch\nlinux\t/vmlinuz-linux\noptions\t${ROOT}\trw\n`, `options\t${ROOT}\trw ${IDS}\n`],
    ['several options lines', `linux /v\noptions ${ROOT}\n# mine\noptions rw quiet\n`, `options rw quiet ${IDS}\n`],
    ['CRLF', `linux /v\r\noptions ${ROOT} rw\r\n`, `options ${ROOT} rw ${IDS}\r\n`],
    ['quotes inside', `linux /v\noptions ${ROOT} dyndbg="file a.c +p"\n`, `dyndbg="file a.c +p" ${IDS}\n`],
    ['quotes around it all', `linux /v\noptions "${ROOT} rw"\n`, `options "${ROOT} rw ${IDS}"\n`],
    ['no end of line', `linux /v\noptions ${ROOT} rw`, `options ${ROOT} rw ${IDS}`],
    ['no options', 'linux /v\ninitrd /i\n', `initrd /i\noptions ${IDS}\n`],
    [
      'a list',
      `linux /v\noptions vfio_pci.ids=1b21:2142 ${ROOT}\n`,
      `vfio_pci.ids=1b21:2142,10de:1cb6,10de:0fb9 ${ROOT}\n`,
    ],
    ['arguments of init', `linux /v\noptions ${ROOT} -- single-thing\n`, `${ROOT} ${IDS} -- single-thing\n`],
  ])('%s', (_, text, says) => {
    const dir = loaderDir(systemdBoot, { [arch]: text })
    const before = treeOf(dir)
    expect(applied(dir)).toEqual([])
    expect(textOf(dir, arch)).toContain(says)
    expectRan(apply(dir, card), 0, /^Nothing to do/m)
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
    expect(options(dir, arch)).toBe(`${ROOT} rw ${IDS}`)
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

describe('by hand: the exact steps', () => {
  it('Limine with limine-entry-tool', () => {
    const list = 'vfio_pci.ids=1b21:2142'
    expectByHand(loaderDir(limineTool), [
      'The kernel arguments are now set by:',
      `    /etc/default/limine:2: KERNEL_CMDLINE[default]+="quiet ${list} ${ROOT}"`,
      `In /etc/default/limine, line 2, make ${list} say ${list},10de:1cb6,10de:0fb9`,
      'Add to /etc/default/limine, below all of that: KERNEL_CMDLINE[default]+=" intel_iommu=on"',
      'limine-update',
    ])
  })

  it('Limine', () => {
    expectByHand(loaderDir(limine), [
      'In /boot/limine/limine.conf, make the cmdline of the entries that you use (not of a fallback) say:',
      `    line 6: ${ROOT} rw vfio-pci.ids=1b21:2142,10de:1cb6,10de:0fb9 quiet intel_iommu=on`,
    ])
  })

  it('rEFInd', () => {
    expectByHand(loaderDir(refind), [
      'Make line 2 of /boot/refind_linux.conf say (and leave the others, for a boot without it):',
      `    "Boot with standard options"  "${ROOT} ro quiet vfio-pci.ids=1b21:2142,10de:1cb6,10de:0fb9 intel_iommu=on"`,
      `In /boot/efi/EFI/refind/refind.conf, if its menu entries start your kernels, add to their options: ${OURS}`,
    ])
  })

  it('bootc', () => {
    expectByHand(loaderDir(bootc), [
      'In the Containerfile of the image that this machine runs:',
      `    RUN mkdir -p /usr/lib/bootc/kargs.d && echo 'kargs = ["intel_iommu=on", "${IDS}"]' > /usr/lib/bootc/kargs.d/10-vfio.toml`,
      'Build and push the image, then here: bootc upgrade, and reboot.',
    ])
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
    expect(options(dir, arch)).toBe(`${ROOT} rw ${IDS}`)
  })
})
