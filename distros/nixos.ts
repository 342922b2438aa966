import type { Distro } from '../lib/plan/system.ts'

export const nixos: Distro = {
  name: 'NixOS',
  documentation: 'https://nixos.org/manual/nixos/stable/ and https://wiki.nixos.org/wiki/PCI_passthrough',
  ids: ['nixos'],
  kernel: 'boot.kernelPatches with structuredExtraConfig, or other boot.kernelPackages, and nixos-rebuild boot',
  packages: {
    command: 'add to environment.systemPackages, or enable its module:',
    names: {
      qemu: 'qemu_kvm',
      libvirt: 'virtualisation.libvirtd.enable',
      ovmf: 'OVMFFull',
      swtpm: 'virtualisation.libvirtd.qemu.swtpm.enable',
      'virt-manager': 'programs.virt-manager.enable',
      virtiofsd: 'virtiofsd',
    },
  },
}
