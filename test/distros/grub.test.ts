import { describe, expect, it } from 'vitest'
import { grub } from '../../distros/bootloaders/grub.ts'
import { addSetting, type Content, removeSetting } from '../../lib/change/settings.ts'
import { debianGrub as debian, hostWith } from '../support/root.ts'

const LOADER = '/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'
const DEFAULTS = { '/etc/default/grub': debian['/etc/default/grub'] }

const efiText = (text: string): string => Buffer.from(`\x06\0\0\0${text}\0\0`, 'latin1').toString('latin1')
const utf16 = (text: string): string => efiText([...text].map((char) => `${char}\0`).join(''))

describe('evidence', () => {
  const cmdline = { '/proc/cmdline': 'BOOT_IMAGE=/boot/vmlinuz-6.1.0 root=/dev/sda1 ro\n' }
  it.each<[string, Record<string, string>, string | undefined, RegExp]>([
    ['no grub.cfg', { ...DEFAULTS, ...cmdline }, undefined, /./],
    ['a leftover grub.cfg, without its settings', { '/boot/grub/grub.cfg': '', ...cmdline }, undefined, /./],
    ['its files alone', debian, 'configured', /^\/etc\/default\/grub and \/boot\/grub\/grub\.cfg$/],
    [
      'the image that GRUB names',
      { ...debian, ...cmdline },
      'booted',
      /^BOOT_IMAGE=\/boot\/vmlinuz-6\.1\.0 in \/proc\/cmdline/,
    ],
    ['GRUB of itself', { ...debian, [LOADER]: utf16('GRUB 2.12') }, 'booted', /^GRUB 2\.12 booted this$/],
    ['another loader', { ...debian, [LOADER]: utf16('systemd-boot 252') }, undefined, /./],
    ['both', { ...debian, ...cmdline, [LOADER]: utf16('rEFInd 0.14') }, 'configured', /but rEFInd 0\.14 ran too$/],
  ])('%s', (_, files, kind, why) => {
    const found = grub.detect(hostWith(files))
    expect(found?.kind).toBe(kind)
    if (found !== undefined) expect(found.why).toMatch(why)
  })

  it('of another root is its files alone', () => {
    expect(grub.detect(hostWith({ ...debian, ...cmdline }, false))?.kind).toBe('configured')
  })
})

/** What the files are after the tokens went in where the adapter says. */
function settle(files: Record<string, string>, ...tokens: string[]): { path: string; text: Content }[] {
  const reader = hostWith(files)
  const texts = new Map<string, Content>()
  for (const token of tokens) {
    const [setting] = grub.open(reader).settings([{ token, reason: '' }])
    if (setting?.kind !== 'shell-argument') throw new Error('no setting')
    const before = texts.get(setting.path) ?? files[setting.path] ?? null
    const after = addSetting(before, setting)
    expect(removeSetting(after, setting)).toBe(before)
    expect(addSetting(after, setting)).toBe(after)
    texts.set(setting.path, after)
  }
  return [...texts].map(([path, text]) => ({ path, text }))
}

const DROP_IN = '/etc/default/grub.d'
const head =
  '# Written by vfio-scripts; bind-vfio, override-same-id-gpu and tune-host take out their own with --undo --apply.\n'
const own = (...tokens: string[]): string =>
  `${head}GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT ${tokens.join(' ')}"\n`
const sets = (value: string): string => `GRUB_CMDLINE_LINUX_DEFAULT="${value}"\n`

describe('settings', () => {
  const ids = 'vfio-pci.ids=10de:1cb6'

  it('go into a drop-in of our own', () => {
    expect(settle(debian, 'intel_iommu=on', ids, 'vfio-pci.ids=10de:0fb9')).toEqual([
      { path: `${DROP_IN}/zz-vfio-scripts.cfg`, text: own('intel_iommu=on', `${ids},10de:0fb9`) },
    ])
  })

  it('go into /etc/default/grub where nothing reads drop-ins', () => {
    const files = { ...debian, '/usr/sbin/grub-mkconfig': '. /etc/default/grub', [`${DROP_IN}/x.cfg`]: sets('x') }
    expect(settle(files, 'intel_iommu=on')).toEqual([
      { path: '/etc/default/grub', text: 'GRUB_CMDLINE_LINUX_DEFAULT="quiet intel_iommu=on"\nGRUB_CMDLINE_LINUX=""\n' },
    ])
  })

  it('follow a link', () => {
    const files = {
      ...debian,
      '/usr/sbin/grub-mkconfig': '',
      '/etc/default/grub': '->../mine',
      '/etc/mine': sets('quiet'),
    }
    expect(settle(files, 'intel_iommu=on')[0]?.path).toBe('/etc/mine')
  })

  it('survive a cloud image that sets the value anew', () => {
    const files = { ...debian, [`${DROP_IN}/50-cloudimg-settings.cfg`]: sets('console=tty1 console=ttyS0') }
    expect(settle(files, 'intel_iommu=on')[0]?.path).toBe(`${DROP_IN}/zz-vfio-scripts.cfg`)
  })

  it('come after a later drop-in that sets the value anew', () => {
    const files = { ...debian, [`${DROP_IN}/zzz-mine.cfg`]: sets('quiet') }
    expect(settle(files, 'intel_iommu=on')[0]?.path).toBe(`${DROP_IN}/zzz-vfio-scripts.cfg`)
    const more = { ...debian, [`${DROP_IN}/zzzz.cfg`]: sets('quiet') }
    expect(settle(more, 'intel_iommu=on')[0]?.path).toBe(`${DROP_IN}/zzzzz-vfio-scripts.cfg`)
    // It keeps what is there: the usual name will do.
    const kind = { ...debian, [`${DROP_IN}/zzz-mine.cfg`]: sets('$GRUB_CMDLINE_LINUX_DEFAULT ro') }
    expect(settle(kind, 'intel_iommu=on')[0]?.path).toBe(`${DROP_IN}/zz-vfio-scripts.cfg`)
  })

  it('are refused where no name comes last, with the file', () => {
    const files = { ...debian, [`${DROP_IN}/~mine.cfg`]: sets('quiet') }
    expect(() => settle(files, 'intel_iommu=on')).toThrow(/^\/etc\/default\/grub\.d\/~mine\.cfg: .*intel_iommu=on/)
  })

  it.each([
    ['a file that ends early', '[ -e /x ] && return\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'],
    ['a quote without an end', 'GRUB_CMDLINE_LINUX_DEFAULT="quiet\n'],
    ['arguments behind --', 'GRUB_CMDLINE_LINUX="-- single"\n'],
  ])('are refused where they would do nothing: %s', (_, text) => {
    const files = { ...debian, '/usr/sbin/grub-mkconfig': '', '/etc/default/grub': text }
    expect(() => settle(files, 'intel_iommu=on')).toThrow(/^\/etc\/default\/grub: .*by hand/)
  })

  it.each<[string, Record<string, string>, string, string]>([
    [
      'another spelling',
      { '/etc/default/grub': sets('vfio_pci.ids=1b21:2142 ro') },
      '/etc/default/grub',
      sets('vfio_pci.ids=1b21:2142,10de:1cb6 ro'),
    ],
    [
      'a drop-in',
      { [`${DROP_IN}/a.cfg`]: sets('$GRUB_CMDLINE_LINUX_DEFAULT vfio-pci.ids=1b21:2142') },
      `${DROP_IN}/a.cfg`,
      sets('$GRUB_CMDLINE_LINUX_DEFAULT vfio-pci.ids=1b21:2142,10de:1cb6'),
    ],
    [
      'a variable of its own',
      { '/etc/default/grub': `V="vfio-pci.ids=1b21:2142"\n${sets('quiet $V')}` },
      '/etc/default/grub',
      `V="vfio-pci.ids=1b21:2142,10de:1cb6"\n${sets('quiet $V')}`,
    ],
    [
      'the variable of all entries',
      { '/etc/default/grub': 'GRUB_CMDLINE_LINUX="vfio-pci.ids=1b21:2142"\n' },
      '/etc/default/grub',
      'GRUB_CMDLINE_LINUX="vfio-pci.ids=1b21:2142,10de:1cb6"\n',
    ],
  ])('of a list go into the list that is there: %s', (_, files, path, text) => {
    expect(settle({ ...debian, ...files }, ids)).toEqual([{ path, text }])
  })

  it('of a list that only a shell could tell are refused', () => {
    const files = { ...debian, '/etc/default/grub': `${sets('vfio-pci.ids=1b21:2142')}. /nowhere\n` }
    expect(() => settle(files, ids)).toThrow(/^\/etc\/default\/grub: /)
  })
})

describe('commands', () => {
  const argv = (files: Record<string, string>) =>
    grub
      .open(hostWith(files))
      .commands()
      .map((one) => [one.argv.join(' '), ...one.touches])
  it.each<[string, Record<string, string>, string, string]>([
    ['Debian', debian, 'update-grub', '/boot/grub/grub.cfg'],
    [
      'upstream',
      { '/usr/bin/grub-mkconfig': '', '/boot/grub/grub.cfg': '' },
      'grub-mkconfig -o /boot/grub/grub.cfg',
      '/boot/grub/grub.cfg',
    ],
    [
      'openSUSE',
      { '/usr/sbin/grub2-mkconfig': '', '/boot/grub2/grub.cfg': '' },
      'grub2-mkconfig -o /boot/grub2/grub.cfg',
      '/boot/grub2/grub.cfg',
    ],
  ])('%s', (_, files, command, config) => {
    expect(argv(files)).toEqual([[command, config]])
  })
})

describe('the menu', () => {
  const menu = (text: string, more: Record<string, string> = {}) =>
    grub.open(hostWith({ ...debian, '/etc/default/grub': text, ...more })).menu()
  it.each([
    ['GRUB_TIMEOUT=5\n', /^in GRUB's menu: press e/],
    ['GRUB_TIMEOUT=0\n', /^hold Shift while/],
    ['GRUB_TIMEOUT=5\nGRUB_TIMEOUT_STYLE="hidden"\n', /^hold Shift while/],
    ['GRUB_HIDDEN_TIMEOUT=0\n', /^hold Shift while/],
    ['#GRUB_HIDDEN_TIMEOUT=0\nGRUB_TIMEOUT_STYLE=menu\n', /^in GRUB's menu/],
  ])('with %j', (text, says) => {
    expect(menu(text)).toMatch(says)
    expect(menu(text)).toContain('vfio-pci.ids= vfio_scripts.override=off')
  })

  it('under UEFI is reached with Esc', () => {
    expect(menu('GRUB_TIMEOUT=0\n', { '/sys/firmware/efi/x': '' })).toMatch(/^press Esc once while/)
  })
})
