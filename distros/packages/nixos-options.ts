import { type NixForm, type NixItem, nixLines, nixString } from '../../lib/edit/nix.ts'
import { bootScriptProgram } from '../../lib/system/boot-script.ts'
import type { GuestSoftware, PackageManager } from '../../lib/system/packages.ts'
import type { RequiredState } from '../../lib/system/requirement.ts'

// The requirements of bind-vfio and tune-host as options of NixOS. Source: https://search.nixos.org/options

/** The names of packages; a name with a dot is an option to enable. */
export const nixosPackages: PackageManager['packageNames'] = {
  qemu: 'qemu_kvm',
  libvirt: 'virtualisation.libvirtd.enable',
  ovmf: 'OVMFFull',
  swtpm: 'virtualisation.libvirtd.qemu.swtpm.enable',
  'virt-install': 'virt-manager',
  osinfo: 'libosinfo',
  virtiofsd: 'virtiofsd',
}

const OVMF = 'virtualisation.libvirtd.qemu.ovmf'
/** The options for the firmware. Since 25.11 they are an error: libvirt finds the firmware that QEMU brings. */
const OVMF_PACKAGES = `  virtualisation.libvirtd.qemu.ovmf.packages = [
    (pkgs.OVMFFull.override {
      secureBoot = true;
      tpmSupport = true;
    }).fd
  ];
`

/** Returns the lines that give guests UEFI with Secure Boot; none where the options are gone. `version`: VERSION_ID. */
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

/** Returns an option with one value. */
function optionItem(option: string, value: string): NixItem {
  return { option, form: 'whole', item: `  ${option} = ${value};\n` }
}

/** Returns members of an option's list. */
function members(option: string, form: NixForm, ...items: readonly string[]): NixItem[] {
  return items.map((item) => ({ option, form, item }))
}

const MODPROBE = 'boot.extraModprobeConfig'
const FUNCTIONS = 'environment.etc."vfio-scripts/functions".text'

/**
 * The boot script for either stage 1: NixOS options boot.initrd.preDeviceCommands and boot.initrd.systemd.services.
 * Of an option that is not declared even a definition under `mkIf false` is an error, and one that was removed is still
 * declared: both have to hold, that it is there and that the scripted stage 1 runs, which NixOS 26.11 no longer has.
 */
const SCRIPT = nixLines(bootScriptProgram('FUNCTIONS')).replace('FUNCTIONS', `printf '%s' '\${config.${FUNCTIONS}}'`)
const OVERRIDE = `  imports = [
    (
      {
        config,
        lib,
        options,
        ...
      }:
      let
        stage1 = builtins.tryEval config.boot.initrd.systemd.enable;
        script = ''
          (
          set +e
          PATH=$PATH:/bin:/sbin
${SCRIPT.replace(/^(?=.)/gm, ' '.repeat(10))}          )
        '';
      in
      {
        boot.initrd =
          lib.optionalAttrs (options.boot.initrd ? preDeviceCommands) {
            preDeviceCommands = lib.mkIf (stage1.success && !stage1.value) script;
          }
          // {
            systemd.services.vfio-scripts = {
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
          };
      }
    )
  ];
`

/** Returns the items of a NixOS module for a requirement. `version`: VERSION_ID of os-release. */
export function nixItems(one: RequiredState, version: string): NixItem[] {
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
      return members(MODPROBE, 'lines', `softdep ${one.driver} pre: ${one.module}`)
    case 'unneeded':
      return members('boot.blacklistedKernelModules', 'strings', one.driver)
    case 'software':
      return softwareItems(one.need, version)
    case 'governor':
      return [optionItem('powerManagement.cpuFreqGovernor', nixString(one.name))]
    case 'sysctl':
      return [optionItem(`boot.kernel.sysctl."${one.name}"`, one.value)]
    case 'module-options':
      return members(MODPROBE, 'lines', `options ${one.module} ${one.options.join(' ')}`)
    case 'udev-rule':
      return members('services.udev.extraRules', 'lines', one.rule)
    case 'memlock':
      return [
        optionItem(
          'security.pam.loginLimits',
          `[\n    {\n      domain = "@${one.group}";\n      type = "-";\n      item = "memlock";\n      value = "${one.limit}";\n    }\n  ]`,
        ),
      ]
    case 'unit-property':
      return [unitItem(one.unit, one.name, one.value)]
    case 'bridge':
      return bridgeItems(one)
    case 'tap':
      return tapItems(one)
    case 'libvirt':
      return [optionItem('virtualisation.libvirtd.enable', 'true')]
    case 'qemu-conf':
      // The first line is NixOS's default, which any value replaces.
      return members('virtualisation.libvirtd.qemu.verbatimConfig', 'lines', 'namespaces = []', one.line)
    case 'setting':
      return []
  }
}

function softwareItems(need: GuestSoftware, version: string): NixItem[] {
  const name = nixosPackages[need]
  // Since 25.11 QEMU brings the firmware along.
  if (need === 'ovmf') return firmwareItems(version)
  if (name.includes('.')) return [optionItem(name, 'true')]
  const libvirt = need === 'virtiofsd'
  const option = libvirt ? 'virtualisation.libvirtd.qemu.vhostUserPackages' : 'environment.systemPackages'
  return members(option, 'expressions', `pkgs.${name}`)
}

function unitItem(unit: string, name: string, value: string): NixItem {
  const [slice, type] = unit.split('.')
  if (type === 'slice') return optionItem(`systemd.slices.${slice}.sliceConfig.${name}`, nixString(value))
  const text = `{\n    overrideStrategy = "asDropin";\n    text = "[Scope]\\n${name}=${value}\\n";\n  }`
  return optionItem(`systemd.units."${unit}"`, text)
}

function bridgeItems({ name, port, mac, vlan, own }: Extract<RequiredState, { kind: 'bridge' }>): NixItem[] {
  const lower = vlan === undefined ? port : `${port}.${vlan}`
  const vlans = `{\n    id = ${vlan};\n    interface = "${port}";\n  }`
  return [
    ...(vlan === undefined ? [] : [optionItem(`networking.vlans."${lower}"`, vlans)]),
    ...members(`networking.bridges."${name}".interfaces`, 'strings', lower),
    // Without it, systemd's 99-default.link gives the bridge another address.
    ...(vlan === undefined && mac !== undefined
      ? [optionItem(`networking.interfaces."${name}".macAddress`, nixString(mac))]
      : []),
    ...ownItems(name, own),
    // What the host has in the VLAN is written down.
    optionItem(`networking.interfaces."${name}".useDHCP`, vlan === undefined ? 'lib.mkDefault true' : 'false'),
  ]
}

/** Returns the options for what the host itself has on the bridge of a VLAN. */
function ownItems(name: string, own: Extract<RequiredState, { kind: 'bridge' }>['own']): NixItem[] {
  const { addresses = [], gateways = [], dns = [] } = own ?? {}
  const version = (address: string): string => (address.includes(':') ? '6' : '4')
  return [
    ...['4', '6'].flatMap((family) => {
      const values = addresses.flatMap((one) => {
        const [address = '', length = ''] = one.split('/')
        const value = `    { address = ${nixString(address)}; prefixLength = ${length}; }\n`
        return version(one) === family ? [value] : []
      })
      const option = `networking.interfaces."${name}".ipv${family}.addresses`
      return values.length === 0 ? [] : [optionItem(option, `[\n${values.join('')}  ]`)]
    }),
    ...gateways.map((one) => {
      const option = `networking.defaultGateway${version(one) === '6' ? '6' : ''}`
      return optionItem(option, `{\n    address = ${nixString(one)};\n    interface = "${name}";\n  }`)
    }),
    ...dns.flatMap((one) => members('networking.nameservers', 'strings', one)),
  ]
}

function tapItems({ name, user, bridge }: Extract<RequiredState, { kind: 'tap' }>): NixItem[] {
  const device = `{\n    virtual = true;\n    virtualType = "tap";\n    virtualOwner = "${user}";\n    useDHCP = false;\n  }`
  return [
    optionItem(`networking.interfaces."${name}"`, device),
    ...(bridge === undefined ? [] : members(`networking.bridges."${bridge}".interfaces`, 'strings', name)),
  ]
}
