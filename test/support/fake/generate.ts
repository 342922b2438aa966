// Large fake machines for the bench and for tests of many devices.
import type { FakeDevice, Machine } from '../machine.ts'
import { hex } from './place.ts'

/** Functions of a card behind one root port; `group` is counted on after each card. */
type Card = (slot: string, port: string, group: () => number) => Record<string, FakeDevice>

const gpu: Card = (slot, under, group) => {
  const both = { under, group: group(), msi: 'on' as const }
  return {
    [`${slot}.0`]: {
      class: '030000',
      id: '10de:1cb6',
      subsystem: '103c:1264',
      revision: 'a1',
      driver: 'nouveau',
      reset: 'bus',
      ...both,
    },
    [`${slot}.1`]: {
      class: '040300',
      id: '10de:0fb9',
      subsystem: '103c:1264',
      revision: 'a1',
      driver: 'snd_hda_intel',
      ...both,
    },
  }
}

const nvme: Card = (slot, under, group) => ({
  [`${slot}.0`]: {
    class: '010802',
    id: '15b7:5049',
    subsystem: '15b7:5049',
    driver: 'nvme',
    reset: 'flr bus',
    msix: 'on',
    under,
    group: group(),
  },
})

const usb: Card = (slot, under, group) => ({
  [`${slot}.0`]: {
    class: '0c0330',
    id: '1912:0014',
    revision: '03',
    driver: 'xhci_hcd',
    reset: 'bus',
    msix: 'on',
    under,
    group: group(),
  },
})

const nic: Card = (slot, under, group) => {
  const port = {
    class: '020000',
    id: '8086:1521',
    subsystem: '8086:0001',
    revision: '01',
    driver: 'igb',
    reset: 'flr bus',
    msix: 'on' as const,
  }
  return { [`${slot}.0`]: { ...port, under, group: group() }, [`${slot}.1`]: { ...port, under, group: group() } }
}

const sriov: Card = (slot, under, group) => {
  const physfn = `${slot}.0`
  const common = { subsystem: '8086:0000', revision: '02', reset: 'flr bus', msix: 'on' as const, under }
  const card: Record<string, FakeDevice> = {
    [physfn]: { class: '020000', id: '8086:1572', driver: 'i40e', totalVfs: 64, ...common, group: group() },
  }
  for (let number = 1; number <= 4; number++) {
    card[`${slot}.${number}`] = {
      class: '020000',
      id: '8086:154c',
      driver: 'iavf',
      physfn,
      ...common,
      reset: 'flr',
      group: group(),
    }
  }
  return card
}

const cards = [gpu, nic, nvme, usb, gpu, sriov, nvme]
const busesPerRoot = 64

/**
 * A machine of exactly that many devices: root buses 00, 40, 80 and c0 in as many domains as it takes, on each a host
 * bridge, an ISA bridge, chipset functions in one group, and root ports with a card each; about one group a card.
 * From 64 devices on, one domain 10000 below an Intel VMD controller.
 */
export function generateMachine(count: number): Machine {
  const devices: Record<string, FakeDevice> = {}
  let left = count
  let groups = 0
  const nextGroup = (): number => groups++
  const add = (more: Record<string, FakeDevice>): void => {
    for (const [address, device] of Object.entries(more)) {
      if (left === 0) return
      devices[address] = device
      left--
    }
  }
  for (let root = 0; left > 0; root++) {
    const domain = hex(Math.floor(root / 4), 4)
    const base = (root % 4) * busesPerRoot
    const on = (slot: string): string => `${domain}:${hex(base, 2)}:${slot}`
    const chipset = { group: nextGroup() }
    add({
      [on('00.0')]: { class: '060000', id: '8086:a700', revision: '01', group: nextGroup() },
      [on('1f.0')]: { class: '060100', id: '8086:7a88', revision: '11', ...chipset },
      [on('1f.3')]: {
        class: '040300',
        id: '8086:7ad0',
        revision: '11',
        driver: 'snd_hda_intel',
        msi: 'on',
        ...chipset,
      },
      [on('1f.4')]: { class: '0c0500', id: '8086:7aa3', revision: '11', driver: 'i801_smbus', ...chipset },
    })
    if (root === 0 && count >= 64) add(volume(on('0e.0'), nextGroup()))
    // Root ports from 01.0 on, eight functions a slot, one bus behind each.
    for (let number = 1; number < busesPerRoot && left > 0; number++) {
      const port = on(`${hex(1 + Math.floor((number - 1) / 8), 2)}.${(number - 1) % 8}`)
      const bus = hex(base + number, 2)
      add({
        [port]: {
          class: '060400',
          id: '8086:a70d',
          revision: '01',
          driver: 'pcieport',
          msi: 'on',
          bus,
          group: nextGroup(),
        },
      })
      const card = cards[(number - 1) % cards.length]
      if (card !== undefined) add(card(`${domain}:${bus}:00`, port, nextGroup))
    }
  }
  return { ...system, about: `${count} devices, generated`, devices }
}

/** Intel VMD: a controller with a PCI domain of its own below it, all in its group. */
function volume(controller: string, group: number): Record<string, FakeDevice> {
  const port = '10000:e0:06.0'
  return {
    [controller]: { class: '010400', id: '8086:a77f', driver: 'vmd', msix: 'on', group },
    [port]: {
      class: '060400',
      id: '8086:a74d',
      revision: '01',
      driver: 'pcieport',
      bus: 'e1',
      under: controller,
      group,
    },
    '10000:e1:00.0': {
      class: '010802',
      id: '15b7:5049',
      subsystem: '15b7:5049',
      driver: 'nvme',
      reset: 'flr',
      under: port,
      group,
    },
  }
}

const system: Omit<Machine, 'about' | 'devices'> = {
  kernel: '6.12.48+deb13-amd64',
  cmdline: 'BOOT_IMAGE=/boot/vmlinuz-6.12.48+deb13-amd64 root=/dev/mapper/vg-root ro quiet intel_iommu=on iommu=pt',
  cpu: { vendor: 'GenuineIntel', model: 'Intel(R) Xeon(R) Gold 6430', flags: ['vmx', 'ept', 'vpid'] },
  acpi: ['APIC', 'DMAR', 'FACP', 'MCFG', 'SRAT'],
  dmi: { sys_vendor: 'Supermicro', product_name: 'SYS-421GE-TNRT' },
  iommu: 'intel',
  groupType: 'DMA-FQ',
  modules: {
    i40e: ['pci:v00008086d00001572sv*sd*bc*sc*i*'],
    iavf: ['pci:v00008086d0000154Csv*sd*bc*sc*i*'],
    igb: ['pci:v00008086d00001521sv*sd*bc*sc*i*'],
    i2c_i801: ['pci:v00008086d00007AA3sv*sd*bc*sc*i*'],
    nouveau: ['pci:v000010DEd*sv*sd*bc03sc*i*'],
    nvme: ['pci:v*d*sv*sd*bc01sc08i02*'],
    snd_hda_intel: ['pci:v000010DEd*sv*sd*bc04sc03i00*', 'pci:v00008086d00007AD0sv*sd*bc*sc*i*'],
    vmd: ['pci:v00008086d0000A77Fsv*sd*bc*sc*i*'],
    xhci_pci: ['pci:v*d*sv*sd*bc0Csc03i30*'],
    xhci_pci_renesas: ['pci:v00001912d00000014sv*sd*bc0Csc03i30*'],
  },
}
