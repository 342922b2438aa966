// Config space of a fake device: the header and a capability list, as lspci -vv and check-reset read them.
// Offsets and bits: linux/pci_regs.h, PCI Local Bus Specification 3.0, PCI Express Base Specification.
import { type Placed, portType } from './place.ts'

const at = { pm: 0x40, msi: 0x50, msix: 0x70, express: 0x80, subsystem: 0xc0, af: 0xd0 }

/** Memory BAR 0 of an endpoint: address and last byte, the same in `config` and `resource`. */
export function barOf(one: Placed): { start: number; end: number } {
  const start = 0x80000000 + (one.index % 0x4000) * 0x10000
  return { start, end: start + 0xffff }
}

export function configSpace(one: Placed): Buffer {
  const { device } = one
  if (device.silent === true) return Buffer.alloc(256, 0xff)
  const bytes = Buffer.alloc(256)
  const [vendor, id] = pair(device.id)
  const virtual = device.physfn !== undefined
  // A virtual function has no IDs of its own in config space: the kernel knows them from the physical function.
  bytes.writeUInt16LE(virtual ? 0xffff : vendor, 0x00)
  bytes.writeUInt16LE(virtual ? 0xffff : id, 0x02)
  bytes.writeUInt16LE(device.driver === undefined ? 0x0000 : 0x0406, 0x04)
  bytes[0x08] = Number.parseInt(device.revision ?? '00', 16)
  bytes.writeUIntLE(Number.parseInt(device.class, 16), 0x09, 3)
  bytes[0x0c] = 0x10
  bytes[0x0e] = (one.bridge ? 1 : 0) | (one.multifunction && !virtual ? 0x80 : 0)
  if (one.bridge) bridgeHeader(bytes, one)
  else {
    if (!virtual) bytes.writeUInt32LE(barOf(one).start, 0x10)
    const [subVendor, subDevice] = pair(device.subsystem ?? '0000:0000')
    bytes.writeUInt16LE(subVendor, 0x2c)
    bytes.writeUInt16LE(subDevice, 0x2e)
  }
  // Interrupt line and pin A; virtual functions have message-signalled interrupts alone.
  if (device.driver !== undefined && !virtual) bytes.writeUInt16LE(0x010b, 0x3c)
  capabilities(bytes, one)
  return bytes
}

function bridgeHeader(bytes: Buffer, one: Placed): void {
  bytes[0x18] = one.bus
  bytes[0x19] = one.secondary
  bytes[0x1a] = one.subordinate
  // Windows that forward nothing: base above limit.
  bytes[0x1c] = 0xf1
  bytes[0x1d] = 0x01
  bytes.writeUInt16LE(0xfff0, 0x20)
  bytes.writeUInt16LE(0x0000, 0x22)
  bytes.writeUInt16LE(0xfff1, 0x24)
  bytes.writeUInt16LE(0x0001, 0x26)
}

/** Writes each capability and chains them: pointer at 0x34, status bit 4. */
function capabilities(bytes: Buffer, one: Placed): void {
  const { device } = one
  const methods = typeof device.reset === 'string' ? device.reset.split(' ') : []
  let pointer = 0x34
  const add = (id: number, offset: number): void => {
    bytes[pointer] = offset
    bytes[offset] = id
    pointer = offset + 1
  }
  if ((one.pcie && device.physfn === undefined) || methods.includes('pm')) {
    add(0x01, at.pm)
    bytes.writeUInt16LE(0x0003, at.pm + 2)
    const state = Number.parseInt((device.powerState ?? 'D0').replace('D3hot', 'D3').slice(1), 10) || 0
    // No_Soft_Reset: going through D3hot resets the function only where this bit is clear.
    bytes.writeUInt16LE((methods.includes('pm') ? 0 : 0x0008) | (state & 3), at.pm + 4)
  }
  if (device.msi !== undefined) {
    add(0x05, at.msi)
    bytes.writeUInt16LE(0x0080 | (device.msi === 'on' ? 1 : 0), at.msi + 2)
    if (device.msi === 'on') bytes.writeUInt32LE(0xfee00000, at.msi + 4)
  }
  if (device.msix !== undefined) {
    add(0x11, at.msix)
    bytes.writeUInt16LE(0x0007 | (device.msix === 'on' ? 0x8000 : 0), at.msix + 2)
    bytes.writeUInt32LE(0x2000, at.msix + 4)
    bytes.writeUInt32LE(0x3000, at.msix + 8)
  }
  if (one.pcie) {
    add(0x10, at.express)
    bytes.writeUInt16LE(0x0002 | (one.port << 4), at.express + 2)
    const flr = methods.includes('flr') ? 0x10000000 : 0
    bytes.writeUInt32LE(0x8001 | flr, at.express + 4)
    if (one.port !== portType.integrated) {
      bytes.writeUInt32LE(0x00000c43, at.express + 0x0c)
      bytes.writeUInt16LE(0x1043, at.express + 0x12)
    }
    bytes.writeUInt32LE(0x0000000e, at.express + 0x2c)
    bytes.writeUInt16LE(0x0003, at.express + 0x30)
  }
  if (one.bridge && device.subsystem !== undefined) {
    add(0x0d, at.subsystem)
    const [subVendor, subDevice] = pair(device.subsystem)
    bytes.writeUInt16LE(subVendor, at.subsystem + 4)
    bytes.writeUInt16LE(subDevice, at.subsystem + 6)
  }
  if (methods.includes('af_flr')) {
    add(0x13, at.af)
    bytes[at.af + 2] = 6
    bytes[at.af + 3] = 0x03
  }
  if (pointer !== 0x34) bytes.writeUInt16LE(0x0010, 0x06)
}

/** `10de:1cb6` as two numbers. */
export function pair(id: string): [number, number] {
  const [first = '', second = ''] = id.split(':')
  return [Number.parseInt(first, 16), Number.parseInt(second, 16)]
}
