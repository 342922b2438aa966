import { headComment } from '../lib/change/settings.ts'
import { type NixForm, type NixItem, nixLines } from '../lib/edit/nix.ts'
import { parseCommandLine } from '../lib/host/kernel.ts'
import { bootScriptProgram } from '../lib/system/boot-script.ts'
import type { RequiredState } from '../lib/system/requirement.ts'
import type { DeclarativeSystem, Distro } from '../lib/system/system.ts'
import { nixosFirmware, nixosHost, nixosPackages } from './packages/nixos-host.ts'

/** The system that boots next, and the one that runs, where the first cannot be seen. */
const SYSTEMS = ['/nix/var/nix/profiles/system', '/run/current-system']

const FUNCTIONS = 'environment.etc."vfio-scripts/functions".text'

/** The boot script for either kind of stage 1: NixOS options boot.initrd.preDeviceCommands, boot.initrd.systemd.services. */
const SCRIPT = nixLines(bootScriptProgram('FUNCTIONS')).replace('FUNCTIONS', `printf '%s' '\${config.${FUNCTIONS}}'`)
const OVERRIDE = `  imports = [
    (
      { config, lib, ... }:
      let
        script = ''
          (
          set +e
          PATH=$PATH:/bin:/sbin
${SCRIPT.replace(/^(?=.)/gm, ' '.repeat(10))}          )
        '';
      in
      {
        boot.initrd.preDeviceCommands = lib.mkIf (!config.boot.initrd.systemd.enable) script;
        boot.initrd.systemd.services.vfio-scripts = {
          description = "Give PCI functions to vfio-pci before host drivers take them";
          wantedBy = [ "sysinit.target" ];
          before = [
            "systemd-modules-load.service"
            "systemd-udev-trigger.service"
            "systemd-udevd.service"
          ];
          unitConfig.DefaultDependencies = false;
          serviceConfig.Type = "oneshot";
          serviceConfig.RemainAfterExit = true;
          serviceConfig.TimeoutStartSec = 60;
          inherit script;
        };
      }
    )
  ];
`

/** Members of an option's list. */
function members(option: string, form: NixForm, ...items: readonly string[]): NixItem[] {
  return items.map((item) => ({ option, form, item }))
}

function nixItems(one: RequiredState): NixItem[] {
  switch (one.kind) {
    case 'argument':
      return members('boot.kernelParams', 'arguments', one.token)
    case 'id':
      return members('boot.kernelParams', 'arguments', `${one.module}.ids=${one.id}`)
    case 'early':
      return members('boot.initrd.kernelModules', 'strings', ...one.parts)
    case 'address':
      return [...members(FUNCTIONS, 'lines', one.function), ...members('imports', 'whole', OVERRIDE)]
    case 'order':
      return members('boot.extraModprobeConfig', 'lines', `softdep ${one.driver} pre: ${one.module}`)
    case 'unneeded':
      return members('boot.blacklistedKernelModules', 'strings', one.driver)
    case 'package':
      return members('virtualisation.libvirtd.qemu.vhostUserPackages', 'expressions', `pkgs.${one.name}`)
  }
}

const declarative: DeclarativeSystem = {
  path: '/etc/nixos/vfio.nix',

  head: (version) => `${headComment()}{ pkgs, ... }:

{
  virtualisation.libvirtd.enable = true;
${nixosFirmware(version)}  virtualisation.libvirtd.qemu.swtpm.enable = true;
}
`,

  render: nixItems,

  arguments(files) {
    const path = SYSTEMS.map((system) => `${system}/kernel-params`).find((one) => files.exists(one))
    const text = path === undefined ? undefined : files.optionalText(path)
    return parseCommandLine(text ?? '').map((one) => ({
      ...one,
      file: path ?? '',
      line: 1,
      variable: 'boot.kernelParams',
      sure: true,
    }))
  },

  earlier:
    'Unless boot.initrd.systemd is enabled, boot.initrd.kernelModules are loaded before the script: leave drivers of these devices (hardware.amdgpu.initrd too) out of them; one that has a device is unbound from it.',

  menu: 'in the boot menu, choose an older generation; or append vfio-pci.ids= vfio_scripts.override=off to the kernel command line',

  steps: (path) => [
    `Import it: imports = [ ${importOf(path)} ]; in configuration.nix, or among the modules of nixosSystem in a flake.`,
    `In a flake, git add it first: files that git does not know are not seen.`,
    `Then: nixos-rebuild boot, and reboot.`,
  ],

  undoSteps: (path) => [
    `Take ${importOf(path)} out of imports where this removes the file; then nixos-rebuild boot, and reboot.`,
  ],

  host: nixosHost,
}

/** `./vfio.nix`: beside the file that imports it, as a rule. */
function importOf(path: string): string {
  return `./${path.slice(path.lastIndexOf('/') + 1)}`
}

export const nixos: Distro = {
  name: 'NixOS',
  documentation: 'https://nixos.org/manual/nixos/stable/ and https://wiki.nixos.org/wiki/PCI_passthrough',
  ids: ['nixos'],
  kernel: 'boot.kernelPatches with structuredExtraConfig, or other boot.kernelPackages, and nixos-rebuild boot',
  packages: {
    command: 'add to environment.systemPackages, or enable its module:',
    packageNames: nixosPackages,
  },
  declarative,
}
