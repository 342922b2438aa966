import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { evaluateModule, evaluateModules, HAS_NIX, NIXPKGS_LIB, parseNix, type Stage1 } from '../support/nix.ts'
import { has, type Ran, runProgram, runScript } from '../support/run.ts'
import { snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

const file = 'etc/nixos/vfio.nix'
const host = (): string => systemDir({ machine: 'twin-gpus', family: 'nixos', iommuByDefault: false })
const override = (dir: string, ...args: string[]): Ran => runScript('override-same-id-gpu', ['--root', dir, ...args])
const apply = (dir: string, ...args: string[]): Ran => override(dir, ...args, '--output', `/${file}`, '--apply')
const moduleOf = (dir: string): string => textOf(dir, file) ?? ''

interface Evaluated {
  boot: { initrd: { kernelModules: string[] }; kernelParams: string[] }
  environment: { etc: { 'vfio-scripts/functions': { text: string } } }
  imports: [
    {
      boot: {
        initrd: { preDeviceCommands: string | null; systemd: { services: { 'vfio-scripts': Record<string, unknown> } } }
      }
    },
  ]
}

const lines = '0000:05:00.0 10de 2504 1462:397d /sys/devices/pci0000:00/0000:00:1d.0/0000:05:00.0\n'

describe('binding by address on NixOS', () => {
  it('is a module to copy, and what to do with it', async () => {
    const dir = host()
    const before = snapshotOf(dir)
    const ran = override(dir, '05:00')
    await expect(ran.stdout).toMatchFileSnapshot('../golden/override-same-id-gpu/nixos.txt')
    expect({ code: ran.code, stderr: ran.stderr }).toEqual({ code: 1, stderr: '' })
    expect(snapshotOf(dir)).toBe(before)
  })

  it('is written and added to; what a person changed stays', () => {
    const dir = host()
    expect(apply(dir, '05:00').code).toBe(0)
    expect(apply(dir, '05:00').stdout).toMatch(/^Nothing to do/m)
    expect(override(dir, '--status').stdout).toMatch(/^override-same-id-gpu: reboot-needed/)
    const one = moduleOf(dir)
    expect(apply(dir, '04:00').code).toBe(0)
    expect(moduleOf(dir)).toContain('    0000:04:00.0 8086 1533 8086:0001 ')
    expect(moduleOf(dir).split('imports = [')).toHaveLength(2)
    expect(override(dir, '--undo', '04:00', '--apply').code).toBe(0)
    expect(moduleOf(dir)).toBe(one)
    writeIn(dir, file, one.replace('{ pkgs, ... }:', '{ lib, pkgs, ... }: # mine'))
    expect(override(dir, '--undo', '--apply').stdout).toMatch(/was changed since/)
    expect(moduleOf(dir)).toContain('# mine')
    expect(moduleOf(dir)).not.toMatch(/vfio-scripts\/functions|imports|vfio_pci/)
    if (HAS_NIX) parseNix(moduleOf(dir))
  })

  it('does not set imports twice: a module that has its own is left as it is', () => {
    const dir = host()
    expect(apply(dir, '05:00').code).toBe(0)
    writeIn(dir, file, moduleOf(dir).replace(/ {2}imports = \[[\s\S]*?\n {2}\];/, '  imports = [ ./mine.nix ];'))
    const before = moduleOf(dir)
    const ran = apply(dir, '04:00')
    expect(ran.stderr).toMatch(/imports is set otherwise in it/)
    expect(ran.code).toBe(2)
    expect(moduleOf(dir)).toBe(before)
  })

  it('is undone byte for byte', () => {
    const dir = host()
    const before = snapshotOf(join(dir, 'etc'))
    expect(apply(dir, '05:00').code).toBe(0)
    expect(override(dir, '--undo', '--apply').code).toBe(0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })
})

needs('nix-instantiate', HAS_NIX).describe('the module, evaluated by Nix', () => {
  const evaluated = (stage1: Stage1): Evaluated => {
    const dir = host()
    expect(apply(dir, '05:00').code).toBe(0)
    parseNix(moduleOf(dir))
    return evaluateModule(moduleOf(dir), stage1) as Evaluated
  }

  it('has the functions, the module and no IDs', () => {
    const { boot, environment } = evaluated('scripted')
    expect(environment.etc['vfio-scripts/functions'].text.startsWith(lines)).toBe(true)
    expect(boot.kernelParams).toEqual(['intel_iommu=on'])
    expect(boot.initrd.kernelModules).toEqual(['vfio_pci', 'vfio', 'vfio_iommu_type1'])
  })

  it('runs the script in either kind of stage 1, and not twice', () => {
    const [scripted, systemd] = (['scripted', 'systemd'] as const).map((kind) => evaluated(kind).imports[0].boot.initrd)
    const text = scripted?.preDeviceCommands ?? ''
    expect(systemd?.preDeviceCommands).toBeNull()
    const service = systemd?.systemd.services['vfio-scripts']
    expect(service).toMatchObject({
      script: text,
      wantedBy: ['sysinit.target'],
      before: ['systemd-modules-load.service', 'systemd-udev-trigger.service', 'systemd-udevd.service'],
      unitConfig: { DefaultDependencies: false },
    })
    expect(text).toContain(`functions() {\n  printf '%s' '${lines}`)
  })

  it('has no word of the scripted stage 1 where that is gone', () => {
    expect(evaluated('removed').imports[0].boot.initrd.preDeviceCommands).toBeNull()
    expect(evaluated('undeclared').imports[0].boot.initrd).not.toHaveProperty('preDeviceCommands')
  })

  it.each(['dash', 'busybox', 'bash'].filter(has))('what runs is a script that %s understands', (shell) => {
    const root = scratchDir('stage1')
    const text = evaluated('scripted').imports[0].boot.initrd.preDeviceCommands ?? ''
    for (const folder of ['proc', 'dev', 'sys/bus/pci/devices']) writeIn(root, `${folder}/.keep`, '')
    writeIn(root, 'proc/cmdline', 'quiet\n')
    const here = text
      .replace('pci=/', `pci=${root}/`)
      .replace('</proc', `<${root}/proc`)
      .replace('>/dev/kmsg', `>>${root}/dev/kmsg`)
    writeIn(root, 'stage1', `set -e\n${here}echo goes on\n`)
    const ran = runProgram(shell, [...(shell === 'busybox' ? ['sh'] : []), join(root, 'stage1')])
    expect(ran).toEqual({ code: 0, stdout: 'goes on\n', stderr: '' })
    expect(textOf(root, 'dev/kmsg')).toBe(
      ['0', '1'].map((fn) => `vfio-scripts: nothing is taken: 0000:05:00.${fn} is not there\n`).join(''),
    )
  })

  needs('shellcheck').it('and shellcheck finds nothing in it', () => {
    const root = scratchDir('stage1')
    writeIn(root, 'stage1', evaluated('scripted').imports[0].boot.initrd.preDeviceCommands ?? '')
    expect(runProgram('shellcheck', ['--shell', 'sh', join(root, 'stage1')])).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    })
  })
})

/** The options of NixOS that the module sets, as far as their types matter here. */
const DECLARED = `{ lib, ... }: let inherit (lib) mkOption types; in {
  options.assertions = mkOption { type = types.listOf types.unspecified; default = [ ]; };
  options.boot.kernelParams = mkOption { type = types.listOf types.str; default = [ ]; };
  options.boot.initrd.kernelModules = mkOption { type = types.listOf types.str; default = [ ]; };
  options.boot.initrd.systemd.services = mkOption { type = types.attrsOf (types.attrsOf types.anything); default = { }; };
  options.environment.etc = mkOption { type = types.attrsOf (types.submodule { options.text = mkOption { type = types.lines; }; }); default = { }; };
  options.virtualisation = mkOption { type = types.attrsOf types.anything; default = { }; };
}`
const COMMANDS = `{ lib, ... }: { options.boot.initrd.preDeviceCommands = lib.mkOption { type = lib.types.lines; default = ""; }; }`
const enabled = (value: boolean): string =>
  `{ lib, ... }: { options.boot.initrd.systemd.enable = lib.mkOption { type = lib.types.bool; default = ${value}; }; }`
const gone = (name: string): string =>
  `{ lib, ... }: { imports = [ (lib.mkRemovedOptionModule [ "boot" "initrd" ${name} ] "use systemd") ]; }`
const OWN = `{ boot.kernelParams = [ "quiet" ]; boot.initrd.kernelModules = [ "amdgpu" ]; boot.initrd.systemd.services.mine.script = "true"; }`

needs('nix-instantiate and VFIO_NIXPKGS_LIB', HAS_NIX && NIXPKGS_LIB !== undefined).describe(
  'the module, evaluated by the library of nixpkgs',
  () => {
    it.each<[string, string[], boolean]>([
      ['25.05 and 25.11: scripted by default', [COMMANDS, enabled(false)], true],
      ['the same, with systemd', [COMMANDS, enabled(true)], false],
      [
        '26.05: systemd by default, scripted as it was',
        [COMMANDS, enabled(true), '{ boot.initrd.systemd.enable = false; }'],
        true,
      ],
      ['later: the commands were removed', [gone('"preDeviceCommands"'), enabled(true)], false],
      ['later: the commands are not declared', [enabled(true)], false],
      ['later: there is no choice any more', [gone('"preDeviceCommands"'), gone('"systemd" "enable"')], false],
    ])('%s', (_, declared, scripted) => {
      const dir = host()
      expect(apply(dir, '05:00').code).toBe(0)
      for (const own of [[], [OWN]]) {
        const what = `{
          service = result.config.boot.initrd.systemd.services ? vfio-scripts;
          scripted = let text = builtins.tryEval (result.config.boot.initrd.preDeviceCommands or ""); in text.success && text.value != "";
          failed = map (one: one.message) (builtins.filter (one: !one.assertion) result.config.assertions);
          params = result.config.boot.kernelParams;
          modules = result.config.boot.initrd.kernelModules;
        }`
        const module = `import ${join(dir, file)}`
        const { params, modules, ...rest } = evaluateModules([module, DECLARED, ...declared, ...own], what) as Record<
          string,
          unknown
        >
        expect(rest).toEqual({ service: true, scripted, failed: [] })
        expect(params).toEqual(expect.arrayContaining(['intel_iommu=on', ...(own.length > 0 ? ['quiet'] : [])]))
        expect(modules).toContain('vfio_pci')
      }
    })
  },
)
