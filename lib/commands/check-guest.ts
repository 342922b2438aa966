import { judgeResets, readResetFacts } from '../bind/reset.ts'
import { checkDeviceLog } from '../checks/device.ts'
import { guardRunner } from '../checks/judged.ts'
import type { Finding } from '../core/finding.ts'
import type { GuestFacts } from '../guest/decide.ts'
import { GUEST_DEVICES } from '../guest/devices/guest-devices.ts'
import { checkDevices, checkDisks, checkImages, checkResets, withFreeGroupMates } from '../guest/guest-checks.ts'
import { readDiskUsage } from '../host/block.ts'
import { closedFolder, libvirtUser, readDiskImage } from '../host/disk-images.ts'
import type { PciFacts } from '../host/machine.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { askKernelLog } from './ask-kernel-log.ts'
import type { Context } from './run-script.ts'

/** Finds what speaks against the guest, and what the person should know. */
export async function checkGuest(
  { machine, arguments: given }: Context,
  facts: GuestFacts,
  pci: PciFacts | null,
): Promise<{ findings: Finding[]; warnings: string[] }> {
  const findings: Finding[] = []
  const warnings: string[] = []
  const asked = [...facts.requested.gpus, ...facts.requested.others]
  if (pci !== null) {
    const kernel = await askKernelLog(machine)
    const bound = withFreeGroupMates(pci.devices, asked)
    const usage = readDeviceUsage(machine.reader, machine.files, bound)
    findings.push(
      ...checkDevices(pci.devices, bound, asked, usage, pci.groups, guardRunner([machine.reader, machine.files])),
    )
    const known = readResetFacts(machine.reader, pci.devices, asked, kernel.log)
    const resets = checkResets(judgeResets(pci.devices, asked, known, true))
    const said = checkDeviceLog(kernel, asked)
    findings.push(resets.finding, ...(said.state === 'problem' ? [] : [said]))
    if (said.state === 'problem') warnings.push(...said.evidence.map((line) => `the kernel log: ${line}`))
    warnings.push(...resets.warnings, ...asked.flatMap(driverWarning))
    if (pci.iommu.enabled !== true)
      warnings.push(`${pci.iommu.reason ?? 'no IOMMU groups'}; the guest cannot start with these devices until then`)
  }
  const { files, reader } = machine
  const named = GUEST_DEVICES.map((device) => device.files?.(given) ?? {})
  const opened = named.flatMap(({ images = [] }) => images)
  const paths = [...opened, ...named.flatMap(({ others = [] }) => others)]
  findings.push(
    checkImages(
      paths.map((path) => readDiskImage(files, reader, path)),
      machine.running,
    ),
  )
  const blocks = [...facts.images.values()].filter(({ kind }) => kind === 'block')
  findings.push(checkDisks(blocks.map(({ path }) => readDiskUsage(reader, files, path))))
  warnings.push(...GUEST_DEVICES.flatMap((device) => device.warnings?.(machine, given) ?? []))
  const user = libvirtUser(files)
  for (const path of user === undefined ? [] : opened.filter((each) => !each.startsWith('/dev/'))) {
    const folder = user && closedFolder(files, path, user)
    if (folder !== undefined)
      warnings.push(
        `${path}: QEMU runs as ${user?.name}, which may not pass ${folder}; move it to /var/lib/libvirt/images`,
      )
  }
  return { findings, warnings }
}

function driverWarning({ address, driver, bridge }: PciDevice): string[] {
  if (driver === null || isVfio(driver) || bridge) return []
  return [
    `${address}: ${driver} has it now; libvirt takes it when the guest starts, bind-vfio keeps it free from the boot on`,
  ]
}
