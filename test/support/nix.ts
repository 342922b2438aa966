// The real Nix, where it is here: Debian's nix-bin. Its store stays in a folder of its own.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scratchDir } from './machine.ts'
import { has, runProgram } from './run.ts'

export const HAS_NIX = has('nix-instantiate')

function nix(...args: string[]): string {
  const home = scratchDir('nix')
  const env = { HOME: home, NIX_STORE_DIR: `${home}/store`, NIX_STATE_DIR: `${home}/var`, NIX_LOG_DIR: `${home}/log` }
  const { code, stdout, stderr } = runProgram('nix-instantiate', args, { env: { ...env, NIX_REMOTE: '' } })
  if (code !== 0) throw new Error(stderr)
  return stdout
}

/** Is it Nix at all? Throws what Nix says otherwise. */
export function parseNix(text: string): void {
  const file = join(scratchDir('module'), 'vfio.nix')
  writeFileSync(file, text)
  nix('--parse', file)
}

/** Which stage 1 a release of NixOS has: the scripted one, systemd's where that is there too, or only systemd's. */
export type Stage1 = 'scripted' | 'systemd' | 'removed' | 'undeclared'

/**
 * What a NixOS module sets, with the packages that it names as their names; a module that it imports stands beside it,
 * as it is with that kind of stage 1. `removed`: what is left of the options is that they were removed.
 */
export function evaluateModule(text: string, stage1: Stage1 = 'scripted'): unknown {
  const file = join(scratchDir('module'), 'vfio.nix')
  writeFileSync(file, text)
  const pkgs =
    '{ lib.mkAfter = list: list; virtiofsd = "virtiofsd"; qemu_kvm = "qemu_kvm"; virt-manager = "virt-manager"; libosinfo = "libosinfo"; OVMFFull.override = how: { fd = how // { name = "OVMFFull"; }; }; }'
  const enable = { scripted: 'false', systemd: 'true', removed: 'throw "removed"', undeclared: 'true' }[stage1]
  // The least of NixOS's module system: values are as they were written, and mkIf is null where it does not apply.
  const expression = `
    let
      module = import ${file} { inherit lib; pkgs = ${pkgs}; };
      lib.mkIf = condition: value: if condition then value else null;
      lib.mkDefault = value: value;
      lib.optionalAttrs = condition: value: if condition then value else { };
      config = module // { boot.initrd.systemd.enable = ${enable}; };
      options.boot.initrd = ${stage1 === 'undeclared' ? '{ }' : '{ preDeviceCommands = null; }'};
    in
    module // (if module ? imports then { imports = map (one: one { inherit config lib options; }) module.imports; } else { })`
  return JSON.parse(nix('--eval', '--strict', '--json', '--expr', expression))
}

/** Where the library of nixpkgs is, if a person has it: the folder with its default.nix. */
export const NIXPKGS_LIB = process.env.VFIO_NIXPKGS_LIB

/** What the real library of nixpkgs makes of modules, given as Nix. Throws what Nix says. */
export function evaluateModules(modules: readonly string[], what: string): unknown {
  const expression = `
    let
      lib = import ${NIXPKGS_LIB};
      result = lib.evalModules { modules = [ ${modules.map((one) => `(${one})`).join(' ')} { _module.args.pkgs = { }; } ]; };
    in
    ${what}`
  return JSON.parse(nix('--eval', '--strict', '--json', '--expr', expression))
}

/** What hand-over's module of NixOS sets; a file that it writes is its text. */
export function readTexts(text: string): {
  environment: { etc: Record<string, { source: string }> }
  systemd: { units: Record<string, { text: string }> }
  virtualisation: { libvirtd: { hooks: { qemu: Record<string, string> } } }
} {
  const file = join(scratchDir('module'), 'hand-over.nix')
  writeFileSync(file, text)
  const written = 'name: text: text'
  const expression = `import ${file} { pkgs = { writeText = ${written}; writeScript = ${written}; }; }`
  return JSON.parse(nix('--eval', '--strict', '--json', '--expr', expression))
}
