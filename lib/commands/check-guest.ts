import { type CardReset, judgeResets, readResetFacts } from '../bind/reset.ts'
import { checksFor, runChecks } from '../checks/check.ts'
import { deviceLogCheck } from '../checks/device.ts'
import { resetWarnings } from '../checks/guest-checks.ts'
import { GUARDS, GUEST_CHECKS } from '../checks/registry.ts'
import type { Finding } from '../core/finding.ts'
import type { GuestFacts } from '../guest/decide.ts'
import { GUEST_DEVICES } from '../guest/devices/guest-devices.ts'

import { readHandOvers } from '../hand-over/plan-hand-over.ts'
import { readDiskUsage } from '../host/block.ts'
import { closedFolder, libvirtUser, readDiskImage } from '../host/disk-images.ts'
import type { PciFacts } from '../host/machine.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { askKernelLog } from './ask-kernel-log.ts'
import type { Context } from './run-script.ts'

/** Returns the findings against the guest, and warnings that the person should know. */
export async function checkGuest(
  { machine, arguments: given }: Context,
  facts: GuestFacts,
  pci: PciFacts | null,
): Promise<{ findings: Finding[]; warnings: string[] }> {
  const findings: Finding[] = []
  const warnings: string[] = []
  const asked = [...facts.requested.gpus, ...facts.requested.others]
  const readers = [machine.reader, machine.files]
  let cards: CardReset[] | null = null
  if (pci !== null) {
    const kernel = await askKernelLog(machine)
    const bound = withFreeGroupMates(pci.devices, asked)
    const usage = readDeviceUsage(machine.reader, machine.files, bound)
    const handedOver = readHandOvers(machine.files).flatMap(({ functions }) => functions)
    const isSetAside = ({ driver, address }: PciDevice): boolean => isVfio(driver) || handedOver.includes(address)
    const question = asked.every(isSetAside) ? 'bound' : 'taking'
    const guarded = { pci, requested: asked, selected: bound, given: asked, usage }
    findings.push(...runChecks(checksFor(GUARDS, question), guarded, readers, true))
    const [said] = runChecks([deviceLogCheck], { ...kernel, requested: asked }, readers)
    if (said?.state === 'problem') warnings.push(...said.evidence.map((line) => `the kernel log: ${line}`))
    else if (said !== undefined) findings.push(said)
    cards = judgeResets(pci.devices, asked, readResetFacts(machine.reader, pci.devices, asked, kernel.log), true)
    warnings.push(
      ...resetWarnings(cards),
      ...asked.filter((one) => !isSetAside(one)).flatMap((one) => driverWarning(one, facts.format)),
    )
    if (pci.iommu.enabled !== true)
      warnings.push(`${pci.iommu.reason ?? 'no IOMMU groups'}; the guest cannot start with these devices until then`)
  }
  const { files, reader } = machine
  const named = GUEST_DEVICES.map((device) => device.files?.(given) ?? {})
  const opened = named.flatMap(({ images = [] }) => images)
  const images = [...opened, ...named.flatMap(({ others = [] }) => others)].map((path) =>
    readDiskImage(files, reader, path),
  )
  const blocks = [...facts.images.values()].filter(({ kind }) => kind === 'block')
  const disks = blocks.map(({ path }) => readDiskUsage(reader, files, path))
  findings.push(...runChecks(GUEST_CHECKS, { cards, images, disks, running: machine.running }, readers, true))
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

/**
 * Returns the devices and those of their groups that no host driver has: VFIO asks no more of a group than that nobody
 * else drives it.
 */
function withFreeGroupMates(all: readonly PciDevice[], requested: readonly PciDevice[]): PciDevice[] {
  const groups = new Set(requested.map(({ group }) => group))
  groups.delete(null)
  return all.filter(
    (device) =>
      requested.includes(device) ||
      (!device.bridge && groups.has(device.group) && (device.driver === null || isVfio(device.driver))),
  )
}

function driverWarning(
  { address, driver, bridge, physicalFunction }: PciDevice,
  format: GuestFacts['format'],
): string[] {
  if (driver === null || isVfio(driver) || bridge) return []
  const takers = { libvirt: 'libvirt takes it', proxmox: 'Proxmox takes it', qemu: 'QEMU does not take it by itself' }
  const keeps = physicalFunction === null ? 'bind-vfio keeps it free from the boot on' : 'tune-host --vfs keeps it free'
  return [`${address}: ${driver} has it now; ${takers[format]} when the guest starts, ${keeps}`]
}
