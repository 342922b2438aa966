import {
  type CheckName,
  type CheckResult,
  type Finding,
  okResult,
  problemResult,
  unknownResult,
} from '../core/finding.ts'
import { sizeText } from '../core/sizes.ts'
import type { RunningGuest } from '../guest/libvirt/running-guest.ts'
import { cpuList } from '../host/cpu.ts'
import type { Readers } from '../host/denied.ts'
import { type ProcessThread, readHugePagesInUse, readThreads, readVfioInterrupts } from '../host/process-tuning.ts'
import type { Reader } from '../host/reader.ts'
import { type Check, runChecks } from './check.ts'

interface TuningFacts {
  guest: RunningGuest
  machine: Reader
  threads: ProcessThread[]
}

type TuningCheck = Check<TuningFacts>

const pinsCheck: TuningCheck = {
  code: 'guest-pinning',
  askedBy: [],
  run({ guest, threads }) {
    const vcpus = guest.vcpus.map(({ id, thread, cpus }) => ({
      what: `vCPU ${id}`,
      cpus,
      found: threads.find((one) => (thread === null ? one.name === `CPU ${id}/KVM` : one.id === thread)),
    }))
    const main = { what: "QEMU's main thread", cpus: guest.emulator, found: threads.find(({ id }) => id === guest.pid) }
    const asked = [...vcpus, main].flatMap(({ what, cpus, found }) => (cpus === null ? [] : [{ what, cpus, found }]))
    if (asked.length === 0) return okResult(`${guest.name} asks for no CPUs of its own`, [`${guest.path}: no cputune`])
    const told = asked.map(({ what, cpus, found }) => {
      const now = found?.cpus ?? null
      const right = now?.every((cpu) => cpus.includes(cpu)) ?? null
      const [want, is] = [cpuList(cpus), now === null ? 'not seen' : cpuList(now)]
      return { right, line: `${what}: ${right === true ? `CPU ${is}` : `CPU ${is}, asked for ${want}`}` }
    })
    const wrong = told.filter(({ right }) => right === false)
    const unseen = told.filter(({ right }) => right === null)
    const lines = (list: typeof told): string[] => list.map(({ line }) => line)
    if (wrong.length > 0)
      return problemResult(
        `${wrong.length} of ${told.length} pinned threads of ${guest.name} may run elsewhere`,
        lines(wrong),
        `something moved them after the start (virsh vcpupin, taskset, a cpuset): restart ${guest.name}`,
      )
    if (unseen.length > 0) return unknownResult(`It is not known where threads of ${guest.name} run`, lines(unseen))
    return okResult(`All ${told.length} pinned threads of ${guest.name} are on their CPUs`, lines(told))
  },
}

const guestPagesCheck: TuningCheck = {
  code: 'guest-hugepages',
  askedBy: [],
  run({ guest, machine }) {
    const { name, hugepages, memoryKib } = guest
    const used = readHugePagesInUse(machine, guest.pid)
    const smaps = `/proc/${guest.pid}/smaps`
    if (used === undefined) return unknownResult(`It is not known which pages hold ${name}'s memory`, [smaps])
    const size = (kib: number): string => sizeText(kib * 1024)
    const lines = [...used].map(([page, kib]) => `${size(kib)} in pages of ${size(page)} (${smaps})`)
    if (hugepages === null) return okResult(`${name} asks for no huge pages`, lines)
    const fit = [...used].filter(([page]) => hugepages.kib === null || page === hugepages.kib)
    const held = fit.reduce((sum, [, kib]) => sum + kib, 0)
    const what = `${size(memoryKib)} of ${name}`
    const pages = hugepages.kib === null ? 'huge pages' : `pages of ${size(hugepages.kib)}`
    if (held >= memoryKib) return okResult(`All ${what} are in ${pages}`, lines)
    return problemResult(
      `Of ${what}, ${held === 0 ? 'nothing is' : `only ${size(held)} are`} in ${pages}`,
      lines.length > 0 ? lines : [`${smaps}: no huge pages`],
      `reserve them (tune-host --hugepages), then restart ${name}`,
    )
  },
}

const guestDevicesCheck: TuningCheck = {
  code: 'guest-devices',
  askedBy: [],
  run: ({ guest, machine }) =>
    guest.hostdevs.map((address): CheckResult => {
      const driver = machine.linkName(`/sys/bus/pci/devices/${address}/driver`)
      if (driver === undefined || !driver.startsWith('vfio'))
        return problemResult(
          `${address}: ${driver ?? 'no driver'} has it, not vfio-pci, while ${guest.name} runs`,
          [`/sys/bus/pci/devices/${address}/driver`],
          `shut ${guest.name} down, and start it again`,
        )
      const interrupts = readVfioInterrupts(machine, address)
      if (interrupts === undefined)
        return unknownResult(`${address}: ${driver} has it; its interrupts were not seen`, ['/proc/interrupts'])
      const lines = interrupts.map(({ irq, kind, cpus }) => `interrupt ${irq} (${kind}) on CPU ${cpus ?? 'not seen'}`)
      if (interrupts.length === 0)
        return unknownResult(
          `${address}: ${driver} has it; the guest uses none of its interrupts`,
          [`/proc/interrupts: no vfio line of ${address}`],
          'look again when the driver in the guest has started; without one it stays so',
        )
      const line = interrupts.some(({ kind }) => kind === 'intx')
      return okResult(
        line
          ? `${address}: ${driver} has it, by a line interrupt; MSI is faster (gen-domain --msi-steps)`
          : `${address}: ${driver} has it, with ${interrupts.length} interrupt${interrupts.length === 1 ? '' : 's'} by MSI`,
        lines,
      )
    }),
}

const GONE: CheckName = { code: 'guest-process' }

/** Compares what a running guest has with what it asks for. */
export function guestTuningFindings(guest: RunningGuest, machine: Reader, readers: Readers): Finding[] {
  const threads = readThreads(machine, guest.pid)
  const running: TuningCheck = {
    ...GONE,
    askedBy: [],
    run: () =>
      threads === undefined
        ? problemResult(
            `${guest.name} does not run: process ${guest.pid} is not there`,
            [guest.path],
            `virsh start ${guest.name}`,
          )
        : okResult(`${guest.name} runs as process ${guest.pid}`, [guest.path]),
  }
  const checks = threads === undefined ? [running] : [running, pinsCheck, guestPagesCheck, guestDevicesCheck]
  return runChecks(checks, { guest, machine, threads: threads ?? [] }, readers)
}
