import type { PciDevice } from '../host/pci.ts'

const VALUE = 'Device Parameters\\Interrupt Management\\MessageSignaledInterruptProperties'

/**
 * Returns the steps that switch these cards to MSI inside Windows, line by line: by hand, as one line of PowerShell, and
 * as a .reg file. Source: Microsoft, "Enabling Message-Signaled Interrupts in the Registry"; "Identifiers for PCI
 * devices" (VEN, DEV).
 */
export function msiSteps(devices: readonly PciDevice[]): string[] {
  const ids = [...new Set(devices.map(({ vendor, device }) => `VEN_${vendor.id}&DEV_${device.id}`.toUpperCase()))]
  return [
    'in the guest: Device Manager, the card, Properties, Details, "Device instance path" gives PCI\\VEN_…',
    'in regedit: HKLM\\SYSTEM\\CurrentControlSet\\Enum\\PCI\\VEN_…\\…\\Device Parameters\\Interrupt Management',
    'there, in the key MessageSignaledInterruptProperties (make it), set the DWORD MSISupported to 1; for the audio function too',
    ...(ids.length === 0
      ? ['name the card with --gpu or --pci, and the same stands here as a line of PowerShell and a .reg file']
      : ['or, in a PowerShell of an administrator, this one line for these cards:', powershell(ids), ...regFile(ids)]),
    'restart the guest; under Resources the interrupt is then a negative number',
  ]
}

/** Returns a line of PowerShell; reg.exe makes the keys that are missing and leaves their other values. */
function powershell(ids: readonly string[]): string {
  const match = ids.map((id) => `PCI\\\\${id}(&|\\\\)`).join('|')
  const key = `HKLM\\SYSTEM\\CurrentControlSet\\Enum\\$($_.InstanceId)\\${VALUE}`
  return `Get-PnpDevice -PresentOnly | Where-Object InstanceId -match '^(${match})' | ForEach-Object { reg.exe add "${key}" /v MSISupported /t REG_DWORD /d 1 /f }`
}

/** Returns a .reg file; Windows makes the names of the keys up from the guest's buses, and a .reg file knows no pattern. */
function regFile(ids: readonly string[]): string[] {
  return [
    'or as a .reg file: for each key, PATH is what follows PCI\\ in "Device instance path", which Windows makes up when it first sees the card:',
    'Windows Registry Editor Version 5.00',
    ...ids.flatMap((id) => [
      '',
      `; PATH begins with ${id}`,
      `[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Enum\\PCI\\PATH\\${VALUE}]`,
      '"MSISupported"=dword:00000001',
    ]),
    '',
  ]
}
