import { describe, expect, it } from 'vitest'
import { amd, grub, intel, type Machine, machineName, none, qemuArguments } from './machines.ts'

/** The `-device` options, each split at its commas. */
function devices(machine: Machine): string[][] {
  const words = qemuArguments(machine)
  return words.filter((_, index) => words[index - 1] === '-device').map((device) => device.split(','))
}

const portOf = (machine: Machine, driver: string) =>
  devices(machine)
    .find((device) => device[0] === driver)
    ?.find((part) => part.startsWith('bus='))

describe('machines', () => {
  it.each([intel, { ...intel, networkFunctions: true }, amd, none, grub(amd, 'uefi')])(
    '$iommu $boot: one device on a slot, slot 01 free',
    (machine) => {
      const places = devices(machine)
        .filter((device) => device.includes('bus=pcie.0'))
        .map((device) => device.find((part) => part.startsWith('addr=')) ?? 'none')
      expect(new Set(places).size).toBe(places.length)
      expect(places.filter((place) => place.startsWith('addr=0x01'))).toEqual([])
    },
  )

  it('has another network card where its virtual functions are wanted', () => {
    const other: Machine = { ...intel, networkFunctions: true }
    expect([portOf(intel, 'igb'), portOf(other, 'igb')]).toEqual([undefined, 'bus=port4'])
    expect([portOf(intel, 'e1000e'), portOf(other, 'e1000e')]).toEqual(['bus=port4', 'bus=port5'])
  })

  it('moves a card to another port', () => {
    const moved: Machine = { ...amd, moved: { usb: '03.1' } }
    expect([portOf(amd, 'qemu-xhci'), portOf(moved, 'qemu-xhci')]).toEqual(['bus=port7', 'bus=port10'])
    expect(machineName(moved)).toBe('amd-usb@03.1')
  })
})
