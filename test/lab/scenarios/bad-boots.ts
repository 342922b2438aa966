import type { Generator } from '../contents.ts'
import { amd, grub, intel, type Machine, none } from '../machines.ts'
import { append } from './bind-vfio.ts'

// Configurations as people have them that do something else than they were written for. What each does was read from the
// kernel's log.

export interface BadBoot {
  about: string
  /** `grub(intel, 'bios')` unless told. */
  machine?: Machine
  /** initramfs-tools unless told. */
  generator?: Generator
  /** systemd is PID 1. */
  systemd?: true
  core?: true
  /** What the person wrote. */
  wrote: string
  /** Who has what besides `usual`, and a line that says why or why not; null: nothing orders who comes first. */
  has: Record<string, Has>
}

type Has = readonly [driver: string | null, because?: RegExp | undefined]

/** A file of modprobe.d. */
const modprobe = (name: string, ...lines: string[]) => file(`etc/modprobe.d/${name}.conf`, ...lines)
const file = (path: string, ...lines: string[]) =>
  `mkdir -p "$(dirname "$ROOT/${path}")"; printf '%s\\n' ${lines.map((line) => `'${line}'`).join(' ')} >>"$ROOT/${path}"`
const softdeps = (...drivers: string[]) => drivers.map((driver) => `softdep ${driver} pre: vfio-pci`)
const remade = 'in_root update-initramfs -u -k "$KERNEL"'
const dracut = 'in_root dracut --force --kver "$KERNEL"'
const inDracut = (path: string) =>
  file('etc/dracut.conf.d/vfio.conf', 'add_drivers+=" vfio_pci vfio_iommu_type1 "', `install_items+=" ${path} "`)
const script = (...lines: string[]) => lines.join('\n')

const vfio = (because?: RegExp): Has => ['vfio-pci', because]
const all = (slots: string, because?: RegExp) =>
  Object.fromEntries(slots.split(' ').map((slot) => [slot, vfio(because)]))
const cards = (because?: RegExp) => all('04:00.0 05:00.0 0c:00.0', because)
const radeon = (because?: RegExp) => all('01:00.0 01:00.1', because)

/** A list of which nothing comes without an IOMMU. */
const declined = modprobe('vfio', 'options vfio-pci ids=8086:10d3,1234:11e8,1002:5159', ...softdeps('e1000e'))

const cardsAndDrive = modprobe('vfio', 'options vfio-pci ids=8086:10d3,1b36:0010', ...softdeps('e1000e', 'nvme'))
const inline = file('etc/initramfs-tools/modules', 'vfio_pci ids=8086:10d3,1002:5159,8086:2668')

/** The drivers of Intel's devices that the image of initramfs-tools has, and these devices with all others of Intel. */
const intelDrivers = ['e1000e', 'e1000', 'ahci', 'lpc_ich', 'i2c_i801']
const allIntel = all(
  '00:00.0 00:1f.0 00:1f.2 00:1f.3 01:00.1 02:00.1 03:00.1 04:00.0 05:00.0 09:01.0 09:02.0 0c:00.0',
  /modprobe\.d\/vfio\.conf/,
)

export const badBoots: Record<string, BadBoot> = {
  'stale-list': {
    about: 'two lists, of which the last in the order of the files is one of long ago: the network cards go',
    wrote: script(
      modprobe('a-new', 'options vfio-pci ids=1b36:0010', ...softdeps('nvme')),
      modprobe('old', 'options vfio_pci ids=8086:2668,8086:10d3', ...softdeps('e1000e')),
      remade,
    ),
    has: { ...cards(/modprobe\.d\/old\.conf/), '01:00.1': vfio(/modprobe\.d\/old\.conf/) },
  },
  'line-wins': {
    about: 'a list on the kernel line wins over that of modprobe.d',
    machine: grub(intel, 'uefi'),
    wrote: script(
      modprobe('vfio', 'options vfio-pci ids=1002:5159,8086:2668,8086:10d3', ...softdeps('e1000e', 'radeon')),
      remade,
      append('vfio-pci.ids=8086:2415,8086:2668'),
    ),
    has: { '01:00.1': vfio(/grub\.cfg/), '09:02.0': vfio(/grub\.cfg/), '01:00.0': ['radeon', /vfio\.conf.*grub\.cfg/] },
  },
  blacklists: {
    about: 'blacklist and modprobe.blacklist= do not stop a softdep; they and install do stop udev',
    wrote: script(
      modprobe(
        'vfio',
        'options vfio-pci ids=8086:10d3',
        ...softdeps('e1000e'),
        'blacklist vfio-pci',
        'blacklist radeon',
      ),
      modprobe('sound', 'install snd_intel8x0 /bin/false'),
      remade,
      append('modprobe.blacklist=vfio_pci,e1000'),
    ),
    has: { ...cards(), '01:00.0': ['', /vfio\.conf/], '09:02.0': ['', /sound\.conf/], '09:01.0': ['', /grub\.cfg/] },
  },
  'module-blacklist': {
    about: 'module_blacklist= stops vfio-pci and a host driver everywhere',
    machine: grub(amd, 'uefi'),
    wrote: script(
      modprobe('vfio', 'options vfio-pci ids=8086:10d3,8086:100e,1002:5159', ...softdeps('e1000e', 'e1000', 'radeon')),
      remade,
      append('module_blacklist=vfio_pci,e1000'),
    ),
    has: { '09:01.0': ['', /grub\.cfg/], '04:00.0': ['e1000e', /module_blacklist=vfio_pci/] },
  },
  inline: {
    about: 'a list inline in /etc/initramfs-tools/modules is in force after udev: too late for the network cards',
    wrote: script(inline, remade),
    has: { ...radeon(/vfio_pci ids=/), '04:00.0': ['e1000e', /vfio_pci ids=/] },
  },
  'inline-softdep': {
    about: 'the same with a softdep: the module is there already, without a list, and nothing is bound',
    machine: grub(intel, 'uefi'),
    wrote: script(inline, modprobe('vfio', ...softdeps('e1000e', 'radeon', 'snd_hda_intel')), remade),
    has: { '01:00.0': ['radeon', /vfio_pci ids=/] },
  },
  forgotten: {
    about: 'neither update-initramfs nor update-grub was run: the root file system binds what the initramfs left',
    core: true,
    wrote: script(
      modprobe(
        'vfio',
        'options vfio-pci ids=8086:10d3,1002:5159,8086:2668',
        ...softdeps('e1000e', 'radeon', 'snd_hda_intel'),
      ),
      `sed -i 's|quiet|& vfio-pci.ids=1234:1111|' "$ROOT/etc/default/grub"`,
    ),
    has: { ...radeon(/modprobe\.d\/vfio\.conf/), '04:00.0': ['e1000e', /modprobe\.d\/vfio\.conf/] },
  },
  'pci-stub': {
    about:
      'pci-stub.ids= on the line: a module here, in the initramfs it takes what udev left, and vfio-pci comes too late',
    wrote: script(
      file('etc/initramfs-tools/modules', 'pci_stub'),
      modprobe('vfio', 'options vfio-pci ids=8086:2668,8086:293e', ...softdeps('snd_hda_intel')),
      remade,
      append('pci-stub.ids=8086:10d3,8086:2668'),
    ),
    has: { '01:00.1': ['pci-stub', /grub\.cfg/], '02:00.1': vfio(), '03:00.1': vfio() },
  },
  'pci-stub-unloaded': {
    about: 'pci-stub.ids= on the line, and nothing loads pci-stub; a long list that vfio-pci does not take',
    machine: grub(intel, 'uefi'),
    wrote: script(
      modprobe(
        'vfio',
        `options vfio-pci ids=8086:10d3,${Array.from({ length: 110 }, (_, n) => `10de:${(0x1000 + n).toString(16)}`).join(',')}`,
        ...softdeps('e1000e'),
      ),
      remade,
      append('pci-stub.ids=8086:10d3,1002:5159'),
    ),
    has: {},
  },
  'modules-load': {
    about: 'vfio-pci in modules-load.d: systemd loads it beside udev',
    systemd: true,
    wrote: script(
      modprobe('vfio', 'options vfio-pci ids=8086:10d3,1234:11e8,1002:5159'),
      file('etc/modules-load.d/vfio.conf', 'vfio-pci'),
      remade,
    ),
    has: { '00:04.0': vfio(), '09:03.0': vfio(), '01:00.0': [null] },
  },
  'modules-load-blacklist': {
    about: 'vfio-pci in /etc/modules and on a blacklist, which systemd obeys',
    machine: grub(intel, 'uefi'),
    systemd: true,
    wrote: script(
      modprobe('vfio', 'options vfio-pci ids=8086:10d3,1234:11e8,1002:5159', 'blacklist vfio_pci'),
      file('etc/modules', 'vfio-pci'),
      remade,
    ),
    has: {},
  },
  driverctl: {
    about: 'an override of driverctl moves a card, and loads vfio-pci with a list that nobody needed until then',
    systemd: true,
    wrote: script(
      file('etc/driverctl.d/pci-0000:05:00.0', 'vfio-pci'),
      file('etc/driverctl.d/pci-0000:09:02.0', 'none'),
      modprobe('vfio', 'options vfio-pci ids=8086:10d3,1234:11e8'),
      remade,
    ),
    has: { '05:00.0': vfio(/driverctl/), '09:02.0': ['', /driverctl/], '00:04.0': vfio(), '09:03.0': vfio() },
  },
  'vendor-wildcard': {
    about: '8086:ffffffff is every device of the vendor that has no driver yet',
    machine: grub(amd, 'bios'),
    wrote: script(modprobe('vfio', 'options vfio-pci ids=8086:ffffffff', ...softdeps(...intelDrivers)), remade),
    has: allIntel,
  },
  'class-wildcard': {
    about: 'a class with its mask takes all audio of a vendor; another subsystem takes none',
    machine: grub(amd, 'bios'),
    wrote: script(
      modprobe(
        'vfio',
        'options vfio-pci ids=8086:ffffffff:ffffffff:ffffffff:040300:ffff00,8086:10d3:1af4:1100,1234:11e8:1af4:1100',
        ...softdeps('e1000e'),
      ),
      remade,
    ),
    has: { '01:00.1': vfio(), '02:00.1': vfio(), '03:00.1': vfio(), '00:04.0': vfio(), '09:03.0': vfio() },
  },
  recovery: {
    about: 'the recovery entry has not what GRUB_CMDLINE_LINUX_DEFAULT says',
    wrote: script(
      `sed -i 's|quiet|& vfio-pci.ids=8086:10d3,1002:5159|; s|^GRUB_DEFAULT=.*|GRUB_DEFAULT="1>1"|' "$ROOT/etc/default/grub"`,
      `in_root update-grub; ${modprobe('vfio', ...softdeps('e1000e'))}; ${remade}`,
    ),
    has: {},
  },
  'no-iommu': {
    about: 'without an IOMMU vfio-pci declines, and the host drivers have their devices',
    machine: grub(none, 'bios'),
    wrote: script(declined, remade),
    has: {},
  },
  'iommu-off': {
    about: 'the same with intel_iommu=off on the line',
    machine: grub(intel, 'uefi'),
    wrote: script(declined, remade, append('intel_iommu=off')),
    has: {},
  },
  'dracut-forgotten': {
    about: 'dracut was not run: what its image has no driver for is bound later, the NVMe drive is not',
    generator: 'dracut',
    wrote: cardsAndDrive,
    has: cards(),
  },
  'dracut-no-modprobe': {
    about: 'vfio-pci forced by dracut.conf, and an image for every machine has no /etc/modprobe.d',
    machine: grub(intel, 'uefi'),
    generator: 'dracut',
    wrote: script(cardsAndDrive, file('etc/dracut.conf.d/vfio.conf', 'force_drivers+=" vfio_pci "'), dracut),
    has: {},
  },
  'dracut-wildcard': {
    about: 'the same with the file in the image, and a wildcard',
    machine: grub(amd, 'uefi'),
    generator: 'dracut',
    wrote: script(
      modprobe('vfio', 'options vfio-pci ids=8086:ffffffff,1b36:0010', ...softdeps('nvme', 'ahci')),
      inDracut('/etc/modprobe.d/vfio.conf'),
      dracut,
    ),
    has: { ...allIntel, '06:00.0': vfio() },
  },
  'dracut-systemd': {
    about: 'dracut and systemd: a list on the line, vfio-pci in /etc/modules-load.d of image and root',
    generator: 'dracut',
    systemd: true,
    wrote: script(
      file('etc/modules-load.d/vfio.conf', 'vfio-pci'),
      `${inDracut('/etc/modules-load.d/vfio.conf')}; ${dracut}`,
      append('vfio-pci.ids=8086:10d3,8086:2415'),
    ),
    has: { ...cards(), '09:02.0': vfio() },
  },
}
