import { judgeResets, readResetFacts } from '../bind/reset.ts'
import { checkDeviceLog } from '../checks/device.ts'
import { guardRunner } from '../checks/judged.ts'
import type { Finding } from '../core/finding.ts'
import type { GuestFacts } from '../guest/decide.ts'
import { checkDevices, checkDisks, checkImages, checkResets, withFreeGroupMates } from '../guest/guest-checks.ts'
import type { GuestRequest, RequestedDevices } from '../guest/request.ts'
import { hiddenFromQemu } from '../host/apparmor.ts'
import { readDiskUsage } from '../host/block.ts'
import { bootsByEfi, closedFolder, type DiskImage, libvirtUser, readDiskImage } from '../host/disk-images.ts'
import type { PciFacts } from '../host/machine.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { askKernelLog } from './ask-kernel-log.ts'
import type { Context } from './run-script.ts'

/** What speaks against the guest, and what the person should know. */
export async function checkGuest(
  { machine }: Context,
  request: GuestRequest,
  facts: GuestFacts,
  pci: PciFacts | null,
  requested: RequestedDevices,
): Promise<{ findings: Finding[]; warnings: string[] }> {
  const findings: Finding[] = []
  const warnings: string[] = []
  const asked = [...requested.gpus, ...requested.others]
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
  const { iso, virtioIso, rom, headless } = request
  const more = [...(headless ? [] : [iso, virtioIso]), rom].filter((path) => path !== undefined)
  const named = [...request.evdev, ...request.shares.map(({ path }) => path)]
  const absent = named
    .filter((path) => !files.exists(path))
    .map((path): DiskImage => ({ path, kind: 'absent', format: 'raw' }))
  const images = [...facts.images.values(), ...more.map((path) => readDiskImage(files, reader, path)), ...absent]
  findings.push(checkImages(images, machine.running))
  const blocks = [...facts.images.values()].filter(({ kind }) => kind === 'block')
  findings.push(checkDisks(blocks.map(({ path }) => readDiskUsage(reader, files, path))))
  if (iso !== undefined && request.firmware !== 'bios' && bootsByEfi(files, iso) === false)
    warnings.push(`${iso}: holds no UEFI boot image; choose another, or --firmware bios`)
  const { swtpm, virtiofsd } = facts.hypervisor
  if (machine.running && !swtpm && (request.tpm || request.preset === 'windows11'))
    warnings.push('swtpm is not installed, and the guest has a TPM')
  if (machine.running && !virtiofsd && request.shares.length > 0)
    warnings.push('virtiofsd is not installed, and the guest shares folders')
  if (rom !== undefined && request.format === 'libvirt' && hiddenFromQemu(files, reader, rom))
    warnings.push(`${rom}: AppArmor keeps it from QEMU, which then finds no romfile; move it to /usr/share/vgabios`)
  const user = libvirtUser(files)
  for (const path of user === undefined
    ? []
    : [...more, ...request.disks.filter((each) => !each.startsWith('/dev/'))]) {
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
