import { describe, expect, it } from 'vitest'
import { adapters } from '../../distros/index.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'
import { MACHINE_ID, ROOT, unifiedImage } from '../support/loaders.ts'
import { hostWith } from '../support/root.ts'

const GUID = '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'
const releases = ['6.1.0-37-amd64', '6.12.1-1']
const kernels = Object.fromEntries(
  releases.flatMap((release) => [
    [`/lib/modules/${release}/modules.dep`, ''],
    [`/boot/vmlinuz-${release}`, 'kernel'],
    [`/boot/initrd.img-${release}`, 'image'],
  ]),
)
const arch = { '/lib/modules/6.9.1-arch1-1/modules.dep': '', '/lib/modules/6.9.1-arch1-1/pkgbase': 'linux\n' }

function entriesOf(loader: string, files: Record<string, string>): MenuEntry[] {
  return adapters.openBootloader(hostWith(files), loader)?.entries() ?? []
}

/** The titles of the entries, in the order of the menu; `*`: the default one, `?`: that is not known. */
const marked = (entries: MenuEntry[]): string[] =>
  entries.map(({ title, isDefault }) => `${isDefault === null ? '?' : isDefault ? '*' : ''}${title}`)

const efi = (text: string): string => `\x06\0\0\0${[...text].map((char) => `${char}\0`).join('')}\0\0`

describe('a menu of GRUB', () => {
  const [old, now] = releases
  const linux = (release: string, more = ''): string =>
    `\tlinux\t/boot/vmlinuz-${release} ${ROOT} ro quiet${more}\n\tinitrd\t/boot/intel-ucode.img /boot/initrd.img-${release}\n}\n`
  const menu = (chosen: string): string => `if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "\${next_entry}" ] ; then
   set default="\${next_entry}"
   set next_entry=
else
   set default="${chosen}"
fi
function savedefault {
  if [ -z "\${boot_once}" ]; then
    save_env saved_entry
  fi
}
menuentry 'Debian' --class debian $menuentry_id_option 'simple' {
${linux(now ?? '')}submenu 'Advanced' $menuentry_id_option 'advanced' {
menuentry 'New' $menuentry_id_option 'new' {
${linux(now ?? '')}menuentry "Old" --id old {
${linux(old ?? '')}menuentry 'Old (recovery mode)' $menuentry_id_option 'recovery' {
${linux(old ?? '', ' single')}}
menuentry 'Windows' $menuentry_id_option 'osprober-efi-1' {
\tchainloader /EFI/Microsoft/Boot/bootmgfw.efi
}
menuentry 'Other Linux (on /dev/sdb1)' $menuentry_id_option 'osprober-gnulinux-1' {
\tlinux /boot/vmlinuz-1 root=/dev/sdb1
}
menuentry 'Memory test' {
\tlinux /boot/memtest86+x64.efi
}
`
  const grub = (chosen: string, more: Record<string, string> = {}): MenuEntry[] =>
    entriesOf('grub', {
      ...kernels,
      '/boot/intel-ucode.img': 'microcode',
      '/boot/grub/grub.cfg': menu(chosen),
      ...more,
    })

  it('has what each entry boots', () => {
    expect(grub('0')[2]).toEqual({
      title: 'Old',
      file: '/boot/grub/grub.cfg',
      release: old,
      kernel: `/boot/vmlinuz-${old}`,
      images: [
        { path: '/boot/intel-ucode.img', found: true },
        { path: `/boot/initrd.img-${old}`, found: true },
      ],
      line: `${ROOT} ro quiet`,
      recovery: false,
      isDefault: false,
    })
    expect(grub('0').map(({ recovery }) => recovery)).toEqual([false, false, false, true])
  })

  const env = (text: string): Record<string, string> => ({
    '/boot/grub/grubenv': `# GRUB Environment Block\n${text}\n####`,
  })
  it.each<[string, string, Record<string, string>, string[]]>([
    ['a number', '0', {}, ['*Debian', 'New', 'Old', 'Old (recovery mode)']],
    ['a number in a submenu', '1>1', {}, ['Debian', 'New', '*Old', 'Old (recovery mode)']],
    ['IDs', 'advanced>new', {}, ['Debian', '*New', 'Old', 'Old (recovery mode)']],
    ['titles', 'Advanced>Old', {}, ['Debian', 'New', '*Old', 'Old (recovery mode)']],
    ['another system', 'Windows', {}, ['Debian', 'New', 'Old', 'Old (recovery mode)']],
    ['a submenu alone', '1', {}, ['Debian', '?New', '?Old', '?Old (recovery mode)']],
    ['nothing that is there', 'gone', {}, ['*Debian', 'New', 'Old', 'Old (recovery mode)']],
    [
      'the saved entry',
      `\${saved_entry}`,
      env('saved_entry=advanced>old'),
      ['Debian', 'New', '*Old', 'Old (recovery mode)'],
    ],
    ['none saved', `\${saved_entry}`, {}, ['*Debian', 'New', 'Old', 'Old (recovery mode)']],
    ['the next entry alone', '0', env('next_entry=1>0'), ['Debian', '*New', 'Old', 'Old (recovery mode)']],
    ['a variable', `\${mine}`, {}, ['?Debian', '?New', '?Old', '?Old (recovery mode)']],
  ])('by default takes %s', (_, chosen, more, titles) => {
    expect(marked(grub(chosen, more))).toEqual(titles)
  })

  it.each([
    ['a subvolume', '/@/boot', '', '/boot'],
    ['a partition of its own', '', '', '/boot'],
    ['a data set of ZFS', '/ROOT/debian@/boot', '', '/boot'],
    ['a partition that it names', '($drive1)/boot', '', '/boot'],
    ['a subvolume that fstab names', '/system/boot', 'UUID=1 / btrfs subvol=/system 0 0\n', '/boot'],
  ])('finds files by paths in %s', (_, prefix, fstab, folder) => {
    const text = `menuentry 'x' {\n\tlinux ${prefix}/vmlinuz-${now} ${ROOT}\n\tinitrd ${prefix}/initrd.img-${now}\n}\n`
    const [entry] = grub('0', { '/boot/grub/grub.cfg': text, '/etc/fstab': fstab })
    expect(entry).toMatchObject({
      kernel: `${folder}/vmlinuz-${now}`,
      images: [{ path: `${folder}/initrd.img-${now}`, found: true }],
      release: now,
    })
  })

  it('that is not there has none', () => {
    expect(entriesOf('grub', kernels)).toEqual([])
  })

  it('has what a person adds in custom.cfg, and says what cannot be found', () => {
    const custom = 'menuentry "Mine" {\n\tlinux /boot/mine root=/dev/x\n\tinitrd /boot/mine.img\n}\n'
    const more = { '/boot/grub/custom.cfg': custom, '/boot/grub/grub.cfg': `${menu('4')}source $prefix/custom.cfg\n` }
    expect(grub('0', more).at(-1)).toMatchObject({
      ...{ title: 'Mine', file: '/boot/grub/custom.cfg', kernel: null, release: null },
      images: [{ path: '/boot/mine.img', found: false }],
    })
  })
})

describe('a menu of systemd-boot', () => {
  const entry = (title: string, more: string): string =>
    `title ${title}\nlinux /vmlinuz-${releases[1]}\n${more}options ${ROOT}\n`
  const boot = (files: Record<string, string>, loader = 'systemd-boot'): string[] =>
    marked(entriesOf(loader, { ...kernels, ...files }))
  const at = '/boot/loader/entries'
  const three = {
    [`${at}/a.conf`]: entry('A', 'sort-key x\nversion 6.1\n'),
    [`${at}/b.conf`]: entry('B', 'sort-key x\nversion 6.12\n'),
    [`${at}/c.conf`]: entry('C', ''),
  }

  it.each<[string, Record<string, string>, string[]]>([
    ['is sorted by key and newest version', {}, ['*B', 'A', 'C']],
    ['takes what loader.conf says', { '/boot/loader/loader.conf': 'timeout 3\ndefault a.conf\n' }, ['B', '*A', 'C']],
    ['takes the first that a pattern is for', { '/boot/loader/loader.conf': 'default [ac]*\n' }, ['B', '*A', 'C']],
    ['takes a name without its ending', { '/boot/loader/loader.conf': 'default c\n' }, ['B', 'A', '*C']],
    [
      'takes what its variable says first',
      {
        '/boot/loader/loader.conf': 'default a.conf\n',
        [`/sys/firmware/efi/efivars/LoaderEntryDefault-${GUID}`]: efi('c.conf'),
      },
      ['B', 'A', '*C'],
    ],
    ['does not know what was saved elsewhere', { '/boot/loader/loader.conf': 'default @saved\n' }, ['?B', '?A', '?C']],
    [
      'leaves what failed too often for last',
      {
        [`${at}/d+0-3.conf`]: entry('D', 'sort-key x\nversion 7\n'),
        [`${at}/e+2.conf`]: entry('E', 'sort-key x\nversion 7\n'),
      },
      ['*E', 'B', 'A', 'C', 'D'],
    ],
  ])('%s', (_, more, titles) => {
    expect(boot({ ...three, ...more })).toEqual(titles)
  })

  it('has unified images too, by the kernel that is in them', () => {
    const image = '/efi/EFI/Linux/arch-linux.efi'
    const [entry] = entriesOf('uki', { ...arch, [image]: unifiedImage(`${ROOT} rw`) })
    expect(entry).toEqual({
      ...{ title: 'arch-linux.efi', file: image, release: '6.9.1-arch1-1', kernel: image, line: `${ROOT} rw` },
      ...{ images: [{ path: image, found: true }], recovery: false, isDefault: true },
    })
  })

  it('has files of its own partition', () => {
    const [entry] = entriesOf('systemd-boot', {
      ...kernels,
      '/efi/loader/entries/x.conf': `linux /${MACHINE_ID}/${releases[1]}/linux\ninitrd /${MACHINE_ID}/${releases[1]}/initrd\noptions ${ROOT}\n`,
      [`/efi/${MACHINE_ID}/${releases[1]}/linux`]: 'kernel',
    })
    expect(entry).toMatchObject({
      title: 'x',
      release: releases[1],
      kernel: `/efi/${MACHINE_ID}/${releases[1]}/linux`,
      images: [{ path: `/${MACHINE_ID}/${releases[1]}/initrd`, found: false }],
    })
  })
})

describe('a menu of entries that GRUB reads', () => {
  const entry = (release: string): string =>
    `title Fedora (${release})\nversion ${release}\nlinux /vmlinuz-${release}\ninitrd /initramfs-${release}.img $tuned_initrd\noptions ${ROOT}\n`
  const files = {
    '/boot/grub2/grub.cfg': `set default="\${saved_entry}"\ninsmod blscfg\nblscfg\n`,
    [`/boot/loader/entries/${MACHINE_ID}-6.9.0-1.conf`]: entry('6.9.0-1'),
    [`/boot/loader/entries/${MACHINE_ID}-6.12.1-1.conf`]: entry('6.12.1-1'),
  }

  it('takes the newest, or the saved one', () => {
    expect(marked(entriesOf('grubby', files))).toEqual(['*Fedora (6.12.1-1)', 'Fedora (6.9.0-1)'])
    const saved = { '/boot/grub2/grubenv': `saved_entry=${MACHINE_ID}-6.9.0-1\n` }
    expect(marked(entriesOf('grubby', { ...files, ...saved }))).toEqual(['Fedora (6.12.1-1)', '*Fedora (6.9.0-1)'])
    expect(entriesOf('grubby', files)[0]?.images).toEqual([{ path: '/initramfs-6.12.1-1.img', found: false }])
  })

  it('of OSTree takes the highest version', () => {
    const of = (version: number): Record<string, string> => ({
      [`/boot/loader/entries/ostree-${version}.conf`]: `title ${version}\nversion ${version}\nlinux /ostree/f/vmlinuz-6.12.1-1\noptions ${ROOT}\n`,
    })
    const all = { ...of(2), ...of(10), ...kernels }
    expect(marked(entriesOf('rpm-ostree', all))).toEqual(['*10', '2'])
    expect(marked(entriesOf('bootc', all))).toEqual(['*10', '2'])
    expect(entriesOf('bootc', all)[0]?.release).toBe('6.12.1-1')
  })
})
