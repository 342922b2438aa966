import { headComment } from '../lib/change/settings.ts'
import { parseCommandLine } from '../lib/host/kernel.ts'
import type { DeclarativeSystem, Distro } from '../lib/system/system.ts'
import { nixItems, nixosFirmware, nixosPackages } from './packages/nixos-options.ts'

/** The system that boots next and, where that cannot be seen, the one that runs. */
const SYSTEMS = ['/nix/var/nix/profiles/system', '/run/current-system']

const declarative: DeclarativeSystem = {
  binding: {
    path: '/etc/nixos/vfio.nix',
    head: (version) => `${headComment()}{ pkgs, ... }:

{
  virtualisation.libvirtd.enable = true;
${nixosFirmware(version)}  virtualisation.libvirtd.qemu.swtpm.enable = true;
}
`,
  },

  tuning: {
    path: '/etc/nixos/vfio-host.nix',
    head: () => `${headComment('tune-host')}{ lib, pkgs, ... }:\n\n{\n}\n`,
  },

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
}

/** Returns the path to import, `./vfio.nix`: as a rule, beside the file that imports it. */
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
