import { headComment } from '../../lib/change/settings.ts'
import { type NixItem, nixString } from '../../lib/edit/nix.ts'
import type { PackageManager } from '../../lib/system/packages.ts'
import type { DeclarativeHost } from '../../lib/system/system.ts'

// What tune-host sets up, as options of NixOS. Source: https://search.nixos.org/options

/** Names with a dot are options to be enabled. */
export const nixosPackages: PackageManager['packageNames'] = {
  qemu: 'qemu_kvm',
  libvirt: 'virtualisation.libvirtd.enable',
  ovmf: 'OVMFFull',
  swtpm: 'virtualisation.libvirtd.qemu.swtpm.enable',
  'virt-manager': 'programs.virt-manager.enable',
  virtiofsd: 'virtiofsd',
}

const OVMF = 'virtualisation.libvirtd.qemu.ovmf'
/** Since 25.11 these options are an error: libvirt finds the firmware that QEMU brings. */
const OVMF_PACKAGES = `  virtualisation.libvirtd.qemu.ovmf.packages = [
    (pkgs.OVMFFull.override {
      secureBoot = true;
      tpmSupport = true;
    }).fd
  ];
`

/** The lines that give guests UEFI with Secure Boot; none where the options are gone. `version`: of os-release. */
export function nixosFirmware(version: string): string {
  return firmwareItems(version)
    .map(({ item }) => item)
    .join('')
}

function firmwareItems(version: string): NixItem[] {
  const [, year, month] = /^(\d+)\.(\d+)/.exec(version) ?? []
  if (year === undefined || Number(year) * 100 + Number(month) >= 2511) return []
  return [optionItem(`${OVMF}.enable`, 'true'), { option: `${OVMF}.packages`, form: 'whole', item: OVMF_PACKAGES }]
}

/** An option that is one value. */
function optionItem(option: string, value: string): NixItem {
  return { option, form: 'whole', item: `  ${option} = ${value};\n` }
}

/** Lines of files below /etc: the first pattern is for the path, the second for the line. */
const LINES: readonly [path: RegExp, line: RegExp, item: (found: string[], where: string[]) => NixItem][] = [
  [
    /^\/etc\/sysctl\.d\//,
    /^(\S+) = (\d+)$/,
    ([, name, value]) => optionItem(`boot.kernel.sysctl."${name}"`, `${value}`),
  ],
  [/^\/etc\/modprobe\.d\//, /^.+$/, ([item = '']) => ({ option: 'boot.extraModprobeConfig', form: 'lines', item })],
  [/^\/etc\/udev\/rules\.d\//, /^.+$/, ([item = '']) => ({ option: 'services.udev.extraRules', form: 'lines', item })],
  [
    /^\/etc\/security\/limits\.d\//,
    /^(\S+) (\S+) (\S+) (\S+)$/,
    ([, domain, type, item, value]) =>
      optionItem(
        'security.pam.loginLimits',
        `[\n    {\n      domain = "${domain}";\n      type = "${type}";\n      item = "${item}";\n      value = "${value}";\n    }\n  ]`,
      ),
  ],
  [
    /^\/etc\/systemd\/system\/(system|user)\.slice\.d\//,
    /^(\w+)=(.*)$/,
    ([, name, value = ''], [, slice]) => optionItem(`systemd.slices.${slice}.sliceConfig.${name}`, nixString(value)),
  ],
  [
    /^\/etc\/systemd\/system\/init\.scope\.d\//,
    /^.+$/,
    ([line]) =>
      optionItem(
        'systemd.units."init.scope"',
        `{\n    overrideStrategy = "asDropin";\n    text = "[Scope]\\n${line}\\n";\n  }`,
      ),
  ],
]

export const nixosHost: DeclarativeHost = {
  path: '/etc/nixos/vfio-host.nix',
  head: `${headComment('tune-host')}{ lib, pkgs, ... }:\n\n{\n}\n`,

  line(path, line) {
    for (const [place, pattern, item] of LINES) {
      const [where, found] = [place.exec(path), pattern.exec(line)]
      if (where !== null && found !== null) return item(found, where)
    }
    return undefined
  },

  governor: (name) => optionItem('powerManagement.cpuFreqGovernor', nixString(name)),

  bridge({ name, port, mac, vlan }) {
    const lower = vlan === undefined ? port : `${port}.${vlan}`
    const vlans = `{\n    id = ${vlan};\n    interface = "${port}";\n  }`
    return [
      ...(vlan === undefined ? [] : [optionItem(`networking.vlans."${lower}"`, vlans)]),
      { option: `networking.bridges."${name}".interfaces`, form: 'strings', item: lower },
      // Else systemd's 99-default.link gives the bridge an address of its own.
      ...(vlan === undefined && mac !== undefined
        ? [optionItem(`networking.interfaces."${name}".macAddress`, nixString(mac))]
        : []),
      // Of the VLAN the host has no address.
      optionItem(`networking.interfaces."${name}".useDHCP`, vlan === undefined ? 'lib.mkDefault true' : 'false'),
    ]
  },

  tap({ name, user, bridge }) {
    const device = `{\n    virtual = true;\n    virtualType = "tap";\n    virtualOwner = "${user}";\n    useDHCP = false;\n  }`
    const port: NixItem = { option: `networking.bridges."${bridge}".interfaces`, form: 'strings', item: name }
    return [optionItem(`networking.interfaces."${name}"`, device), ...(bridge === undefined ? [] : [port])]
  },

  packages: (requirements, version) =>
    requirements.flatMap((need): NixItem[] => {
      const name = nixosPackages[need]
      // Since 25.11 QEMU brings the firmware along.
      if (need === 'ovmf') return firmwareItems(version)
      if (name.includes('.')) return [optionItem(name, 'true')]
      const libvirt = need === 'virtiofsd'
      const option = libvirt ? 'virtualisation.libvirtd.qemu.vhostUserPackages' : 'environment.systemPackages'
      return [{ option, form: 'expressions', item: `pkgs.${name}` }]
    }),

  libvirt: optionItem('virtualisation.libvirtd.enable', 'true'),

  // The first is what NixOS has there unless something is set.
  qemu: (line) =>
    ['namespaces = []', line].map((item) => ({
      option: 'virtualisation.libvirtd.qemu.verbatimConfig',
      form: 'lines',
      item,
    })),
}
