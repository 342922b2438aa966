import { headComment, type SettingOf } from '../change/settings.ts'
import { HOOK } from './hand-over-paths.ts'

const UNITS = '/etc/systemd/system/'

/**
 * Returns these files as one module of NixOS, which a person imports. Several guests' modules go together: equal
 * definitions of a path or a string are one. Source: nixos/modules/system/etc, systemd.units, and
 * virtualisation.libvirtd.hooks of nixpkgs; lib.types.mergeEqualOption.
 */
export function handOverModule(files: readonly SettingOf<'file'>[]): string {
  const units = files.filter(({ path }) => path.startsWith(UNITS))
  const rest = files.filter(({ path }) => !path.startsWith(UNITS) && path !== HOOK)
  const hook = files.find(({ path }) => path === HOOK)
  const etc = rest.map((one) => `  environment.etc."${one.path.slice('/etc/'.length)}".source = ${written(one)};\n`)
  const systemd = units.map(
    ({ path, content }) => `  systemd.units."${path.slice(UNITS.length)}".text = ${nixText(withPath(content))};\n`,
  )
  const name = hook?.path.split('/').at(-1)
  const hooked =
    hook === undefined ? '' : `  virtualisation.libvirtd.hooks.qemu."${name}" = ${written(hook, 'writeScript')};\n`
  return `${headComment('hand-over')}{ pkgs, ... }:\n\n{\n${etc.join('')}${systemd.join('')}${hooked}}\n`
}

function written({ path, content }: SettingOf<'file'>, writer = 'writeText'): string {
  return `pkgs.${writer} "${path.split('/').at(-1)}" ${nixText(content)}`
}

/** The programs of the system are in one folder, which units do not have on their PATH. */
function withPath(unit: string): string {
  return unit.replace('[Service]\n', '[Service]\nEnvironment=PATH=/run/current-system/sw/bin\n')
}

/** Returns a text as an indented string of Nix, whose own marks are escaped. Source: the Nix manual, "String". */
function nixText(text: string): string {
  const lines = text.replaceAll("''", "'''").replaceAll('${', "''${").split('\n')
  return `''\n${lines.map((line) => (line === '' ? '' : `    ${line}`)).join('\n')}  ''`
}
