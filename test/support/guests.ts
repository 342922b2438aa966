// The guests of the golden files, as somebody asks for them.

const IMAGES = '/var/lib/libvirt/images'
const card = ['--gpu', '02:00']
const disk = ['--disk', `${IMAGES}/guest.qcow2`]
const install = [...disk, '--iso', `${IMAGES}/windows.iso`]
const drivers = ['--virtio-iso', `${IMAGES}/virtio-win.iso`]

/** Golden file → arguments. `libvirt`: what writes this is newer than the schemas of most distributions. */
export const GUESTS: Record<string, { args: string[]; libvirt?: string }> = {
  windows11: { args: ['--guest', 'windows11', ...card, ...install, ...drivers, '--memory', '16G'] },
  windows10: {
    args: ['--guest', 'windows10', ...card, '--disk', '/dev/sdb', ...drivers, '--iso', `${IMAGES}/windows.iso`],
  },
  'windows10-no-drivers': { args: ['--guest', 'windows10', ...install] },
  windows8: { args: ['--guest', 'windows8', ...card, ...install, ...drivers] },
  windows7: { args: ['--guest', 'windows7', ...card, ...install] },
  linux: { args: ['--guest', 'linux', ...card, ...disk] },
  arc: { args: ['--guest', 'linux', '--gpu', '23:00', ...disk] },
  headless: { args: ['--guest', 'windows11', ...card, ...install, ...drivers, '--headless'] },
  i440fx: { args: ['--guest', 'windows10', ...card, ...disk, '--chipset', 'i440fx', '--pci', '00:08.0'] },
  'bios-x-vga': {
    args: ['--guest', 'windows7', ...card, ...disk, '--x-vga', '--rom', `${IMAGES}/card.rom`, '--headless'],
  },
  'old-nvidia': { args: ['--guest', 'windows10', ...card, ...disk, '--nvidia-driver', '430', '--headless'] },
  'hidden-by-name': { args: ['--guest', 'windows10', ...card, '--hide-kvm', '--vendor-id', 'Some One', '--headless'] },
  'libvirt-4.0': { args: ['--guest', 'windows10', ...card, ...disk, '--libvirt', '4.0.0', '--qemu', '2.11'] },
  'libvirt-1.2': {
    args: [
      '--guest',
      'windows8',
      ...card,
      ...disk,
      '--libvirt',
      '1.2.7',
      '--qemu',
      '2.0',
      '--hide-kvm',
      '--cpu',
      'core2duo',
    ],
  },
  loader: { args: ['--guest', 'linux', ...disk, '--loader', '/usr/share/OVMF/OVMF_CODE_4M.fd'] },
  networks: {
    args: [
      ...['--guest', 'linux', '--network', 'bridge:br0', '--network', 'macvtap:enp4s0', '--network', 'tap:tap0'],
      ...['--network', 'user', '--nic-model', 'e1000e', '--mac', '52:54:00:12:34:56'],
    ],
  },
  usb: { args: ['--guest', 'linux', '--usb', '1-1', '--usb', '1234:5678', '--usb', '1-3', '--network', 'none'] },
  optical: { args: ['--guest', 'windows10', '--disk', '/dev/sdb', '--disk-bus', 'scsi', '--optical', '/dev/sr0'] },
  'looking-glass': {
    args: [
      ...['--guest', 'windows11', ...card, ...disk, '--headless', '--looking-glass', '2560x1440'],
      ...['--evdev', '/dev/input/by-id/a-event-kbd', '--evdev', '/dev/input/by-id/b-event-mouse'],
    ],
  },
  'igd-legacy': {
    args: [
      ...['--guest', 'windows10', '--gpu', '00:02.0', ...disk, '--firmware', 'bios', '--chipset', 'i440fx'],
      ...['--headless', '--rom', `${IMAGES}/vbios.rom`, '--libvirt', '9.0.0', '--qemu', '10.0.0'],
    ],
  },
  'igd-uefi': {
    args: ['--guest', 'linux', '--gpu', '00:02.0', ...card, ...disk, '--rom', `${IMAGES}/igd.rom`],
  },
  iommufd: {
    args: [
      '--guest',
      'linux',
      ...card,
      '--gpu',
      '23:00',
      ...disk,
      '--iommufd',
      '--libvirt',
      '12.2.0',
      '--qemu',
      '10.1.0',
    ],
    libvirt: '12.2.0',
  },
  sound: { args: ['--guest', 'linux', ...disk, '--headless', '--audio', 'pulseaudio', '--audio-user', 'ada'] },
  pipewire: {
    args: ['--guest', 'linux', '--audio', 'pipewire', '--libvirt', '10.0.0', '--qemu', '8.2'],
    libvirt: '9.10.0',
  },
  'share-hugepages': {
    args: [
      '--guest',
      'linux',
      ...disk,
      '--share',
      '/srv/games:games',
      '--share',
      '/home',
      '--hugepages',
      '1G',
      '--memory',
      '8G',
    ],
  },
  pinned: { args: ['--guest', 'windows11', ...card, ...disk, '--vcpus', '8', '--prefer', 'cache'] },
  'one-thread': { args: ['--guest', 'linux', '--cores', '3', '--one-thread', ...disk] },
}
