import { describe, expect, it } from 'vitest'
import { apply, bind, card, expectRan, expectSettled, undo } from '../support/bind.ts'
import {
  applied,
  bootc,
  CMDLINE,
  type Files,
  grubby,
  IDS,
  kernelstub,
  type Loader,
  limine,
  limineTool,
  loaderDir,
  MACHINE_ID,
  OURS,
  RELEASES,
  ROOT,
  refind,
  rpmOstree,
  stubConfiguration,
  treeOf,
  undone,
} from '../support/loaders.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'

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
    expectSettled(dir, card)
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

  it('grubby: entries that say $kernelopts keep to it, which stands in one place', () => {
    const env = 'boot/grub2/grubenv'
    const text = (line: string): string => `# GRUB Environment Block\nsaved_entry=x\nkernelopts=${line}\n####`
    const dir = loaderDir(grubby, {
      'etc/default/grub': null,
      [env]: text(`${ROOT} ro ${list}`),
      ...each((release) => ({ [fedora(release)]: `linux /vmlinuz-${release}\noptions $kernelopts $tuned_params\n` })),
    })
    const after = `${ROOT} ro ${list},10de:1cb6,10de:0fb9 intel_iommu=on`
    expect(applied(dir)).toEqual([`grub2-editenv - set kernelopts=${after}`])
    writeIn(dir, env, text(after))
    expectSettled(dir, card)
    expectRan(bind(dir, '--status'), 1, /reboot-needed[\s\S]*2 of 2 normal entries have/)
    expect(undone(dir)).toEqual([`grub2-editenv - set kernelopts=${ROOT} ro ${list}`])
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
      'Or have all files that the build takes written: add --output FOLDER --apply.',
    ])
  })
})
