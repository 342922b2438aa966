import { appendFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { addNixItem, hasNixItem, type NixForm, nixString, removeNixItem } from '../../lib/edit/nix.ts'
import { bind, card, expectRan } from '../support/bind.ts'
import { needs } from '../support/needs.ts'
import { evaluateModule, HAS_NIX, parseNix } from '../support/nix.ts'
import type { Ran } from '../support/run.ts'
import { type System, snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

const file = 'etc/nixos/vfio.nix'
const output = ['--output', `/${file}`]
const apply = (dir: string, ...args: string[]): Ran => bind(dir, ...args, ...output, '--apply')

function host(more: Partial<System> = {}): string {
  return systemDir({ machine: 'i9-14900k-vmd', family: 'nixos', iommuByDefault: false, ...more })
}

function older(version: string): Partial<System> {
  return { files: { 'etc/os-release': `ID=nixos\nNAME=NixOS\nVERSION_ID="${version}"\n` } }
}

/** The module that was written. */
function moduleOf(dir: string): string {
  return textOf(dir, file) ?? ''
}

const module = {
  boot: {
    kernelParams: ['intel_iommu=on', 'vfio-pci.ids=10de:1cb6,10de:0fb9'],
    initrd: { kernelModules: ['vfio_pci', 'vfio', 'vfio_iommu_type1'] },
    extraModprobeConfig: ['nouveau', 'nvidia', 'nvidia_drm', 'nvidiafb', 'snd_hda_intel']
      .map((name) => `softdep ${name} pre: vfio-pci\n`)
      .join(''),
  },
  virtualisation: { libvirtd: { enable: true, qemu: { swtpm: { enable: true } } } },
}

describe('a plan', () => {
  it('is a module to copy, and what to do with it', async () => {
    const dir = host()
    const before = snapshotOf(dir)
    const ran = bind(dir, card)
    await expect(ran.stdout).toMatchFileSnapshot('../golden/bind-vfio/nixos.txt')
    expect(ran.code).toBe(1)
    expect(snapshotOf(dir)).toBe(before)
  })

  it('with a file is a new file', () => {
    const ran = bind(host(), card, ...output, '--json')
    const { changed, changes, notes } = JSON.parse(ran.stdout)
    expect({ changed, code: ran.code, sign: changes[0].sign, path: changes[0].path, more: changes.length }).toEqual({
      changed: false,
      code: 1,
      sign: '+',
      path: `/${file}`,
      more: 1,
    })
    expect(notes.join('\n')).toMatch(/imports = \[ \.\/vfio\.nix \];[\s\S]*nixos-rebuild boot/)
  })

  it('reads the kernels of the system that boots next', () => {
    const dir = host({ kernels: ['6.1.90'] })
    expect(bind(dir, card).stdout).not.toContain('virqfd')
    const kernel = 'nix/store/11111111111111111111111111111111-kernel-modules/lib/modules/6.1.90/modules.dep'
    appendFileSync(join(dir, kernel), 'kernel/drivers/vfio/vfio_virqfd.ko:\n')
    expect(bind(dir, card).stdout).toContain('"vfio_virqfd"')
  })

  it('refuses what switches the IOMMU off', () => {
    const params = 'nix/store/00000000000000000000000000000000-nixos-system-host-25.11/kernel-params'
    expectRan(
      bind(host({ files: { [params]: 'intel_iommu=off' } }), card),
      2,
      /system\/kernel-params:1: intel_iommu=off switches the IOMMU off/,
    )
  })
})

describe('apply', () => {
  it('writes the module, and nothing but it; then undo', () => {
    const dir = host()
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(apply(dir, card), 0, /Import it/)
    expect(moduleOf(dir)).toMatch(
      /^# Written by vfio-scripts; bind-vfio or override-same-id-gpu --undo --apply takes it back\.\n/,
    )
    expectRan(apply(dir, card), 0, /^Nothing to do/m)
    expectRan(bind(dir, card), 0, /^Nothing to do/m)
    expectRan(bind(dir, '--status'), 1, /^bind-vfio: reboot-needed/)
    expectRan(bind(dir, '--undo', '--apply'), 0, /Take \.\/vfio\.nix out of imports/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(bind(dir, '--undo'), 0, /nothing to take back/)
  })

  it('of a second card adds; each is taken back alone', () => {
    const dir = host()
    expectRan(apply(dir, card), 0, /Done/)
    const one = moduleOf(dir)
    expectRan(apply(dir, '03:00', '--virtiofsd'), 0, /Done/)
    expect(moduleOf(dir)).toContain('"vfio-pci.ids=10de:1cb6,10de:0fb9,10ec:525a"')
    expect(moduleOf(dir)).toContain('vhostUserPackages = [ pkgs.virtiofsd ];')
    expectRan(bind(dir, '--undo', '03:00', '--apply'), 0, /other devices still need the rest/)
    expect(moduleOf(dir)).toBe(one)
    expectRan(bind(dir, '--undo', '--apply'), 0, /Taken back/)
    expect(textOf(dir, file)).toBeNull()
  })

  it('keeps what a person wrote into it', () => {
    const dir = host()
    expectRan(apply(dir, card), 0, /Done/)
    const mine = moduleOf(dir).replace('"intel_iommu=on"', '"intel_iommu=on" # mine\n    "quiet"')
    writeIn(dir, file, mine.replace('{ pkgs, ... }', '{ config, pkgs, ... }'))
    expectRan(apply(dir, '03:00'), 0, /Done/)
    expect(moduleOf(dir)).toMatch(
      /"intel_iommu=on" # mine\n {4}"quiet"\n {4}"vfio-pci\.ids=10de:1cb6,10de:0fb9,10ec:525a"/,
    )
    expectRan(bind(dir, '--undo', '--apply'), 0, /was changed since/)
    expect(moduleOf(dir)).toContain('"quiet"')
    expect(moduleOf(dir)).not.toMatch(/vfio-pci|softdep|kernelModules/)
    if (HAS_NIX) parseNix(moduleOf(dir))
  })

  it.each([
    ['without a file', [], /on NixOS, --apply needs --output FILE/],
    ['over a file of somebody else', ['--output', '/etc/nixos/configuration.nix'], /was not written by this script/],
    ['into the store', ['--output', '/nix/store/vfio.nix'], /belongs to the packages of this system/],
    ['to a relative path of another root', ['--output', 'vfio.nix'], /with --root, say where it is below that/],
  ])('%s is refused', (_, args, says) => {
    const dir = host()
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(bind(dir, card, ...args, '--apply'), 2, says)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('elsewhere takes no such options', () => {
    const dir = systemDir({ machine: 'i9-14900k-vmd' })
    mkdirSync(join(dir, 'etc/nixos'))
    expectRan(bind(dir, card, ...output), 2, /--output is for NixOS, and this is Debian and Ubuntu/)
    expectRan(bind(dir, card, '--virtiofsd'), 2, /--virtiofsd is for NixOS/)
  })
})

needs('nix-instantiate', HAS_NIX).describe('the module, evaluated by Nix', () => {
  const written = (dir: string, ...args: string[]): unknown => {
    expectRan(apply(dir, ...args), 0, /Done/)
    parseNix(moduleOf(dir))
    return evaluateModule(moduleOf(dir))
  }

  it('sets what the binding needs', () => expect(written(host(), card)).toEqual(module))

  it('has OVMF below 25.11, where it became an error', () => {
    const ovmf = { enable: true, packages: [{ name: 'OVMFFull', secureBoot: true, tpmSupport: true }] }
    const { boot } = module
    expect(written(host(older('25.05')), card, '--virtiofsd', '--iommu-pt')).toEqual({
      boot: { ...boot, kernelParams: ['intel_iommu=on', 'iommu=pt', 'vfio-pci.ids=10de:1cb6,10de:0fb9'] },
      virtualisation: {
        libvirtd: { enable: true, qemu: { ovmf, swtpm: { enable: true }, vhostUserPackages: ['virtiofsd'] } },
      },
    })
    for (const version of ['25.11', '26.05', '']) expect(written(host(older(version)), card)).toEqual(module)
  })

  it('keeps a driver that no other device needs from being loaded, and no other', () => {
    const found = written(
      host({ machine: 'b365-gtx1650' }),
      '01:00',
      '--force',
      'boot-vga',
      '--force',
      'only-gpu',
    ) as typeof module & {
      boot: { blacklistedKernelModules: string[] }
    }
    expect(found.boot.blacklistedKernelModules).toContain('nouveau')
    expect(found.boot.blacklistedKernelModules).not.toContain('snd_hda_intel')
  })
})

describe('a list in a module', () => {
  /** What Nix would take for an expression within a string. */
  const hole = `$${'{b}'}`
  const empty = '# head\n{ pkgs, ... }:\n\n{\n  virtualisation.libvirtd.enable = true;\n}\n'
  const items: [string, NixForm, string[]][] = [
    ['boot.kernelParams', 'arguments', ['intel_iommu=on', 'dyndbg="file a +p"', `a=${hole}\\`]],
    ['boot.initrd.kernelModules', 'strings', ['vfio_pci', 'vfio', 'x"y', "it''s", hole]],
    ['boot.extraModprobeConfig', 'lines', ['softdep a pre: b', `options x y='' z=${hole}`, '# "quoted" \\ line']],
    ['boot.blacklistedKernelModules', 'strings', ['nouveau']],
    ['virtualisation.libvirtd.qemu.vhostUserPackages', 'expressions', ['pkgs.virtiofsd']],
  ]
  const all = items.flatMap(([option, form, list]) => list.map((item) => ({ option, form, item })))

  it.each([
    ['in order', all],
    ['in the reverse order', [...all].reverse()],
  ])('is taken back member by member, %s', (_, order) => {
    const texts = [empty]
    for (const one of order) {
      const text = texts.at(-1) ?? ''
      expect(hasNixItem(text, one)).toBe(false)
      texts.push(addNixItem(text, one))
      expect(hasNixItem(texts.at(-1) ?? '', one)).toBe(true)
      expect(addNixItem(texts.at(-1) ?? '', one)).toBe(texts.at(-1))
    }
    for (const one of [...order].reverse()) {
      const text = texts.pop() ?? ''
      expect(removeNixItem(text, one)).toBe(texts.at(-1))
    }
  })

  needs('nix-instantiate', HAS_NIX).it('is what Nix reads', () => {
    const text = all.reduce(addNixItem, empty)
    const { boot } = evaluateModule(text) as { boot: Record<string, unknown> }
    expect(boot).toEqual({
      kernelParams: items[0]?.[2],
      initrd: { kernelModules: items[1]?.[2] },
      extraModprobeConfig: `${items[2]?.[2].join('\n')}\n`,
      blacklistedKernelModules: items[3]?.[2],
    })
  })

  it('escapes strings', () => expect(nixString(`a"b\\c${hole}$e`)).toBe(`"a\\"b\\\\c\\${hole}$e"`))
})
