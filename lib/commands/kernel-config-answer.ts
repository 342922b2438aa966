import { configLine, type KernelHint } from '../bind/kernel-config.ts'
import {
  hintText,
  type KernelReport,
  type KernelReports,
  lacksAnything,
  readKernelReports,
  reportTitle,
} from '../bind/kernel-report.ts'
import { withGroupMates } from '../bind/plan-binding.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import { readPciFacts } from '../host/machine.ts'
import type { PciDevice } from '../host/pci.ts'
import { readCandidateModules } from '../system/candidate-modules.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { answerJson, type BindVfio } from '../views/changes.ts'
import { requestedDevices } from './answer.ts'
import type { Answer, Context } from './run-script.ts'

/** Answers what kernels and the source tree lack, for some or all devices. Throws a UserError with code `no-config`. */
export function answerKernelConfig(context: Context, adapters: Adapters): Answer {
  const { machine, warn, arguments: given } = context
  const pci = readPciFacts(machine, warn)
  const selected: PciDevice[] =
    given.operands.length === 0 ? [] : withGroupMates(pci.devices, requestedDevices(pci, given))
  const host = readHost(machine)
  const requested = { bootloader: undefined, initramfs: given.value('initramfs') }
  const facts = readSystemFacts(host, adapters, requested)
  const kernels = readKernelReports(facts, selected, (devices) => readCandidateModules(host, devices))
  if (kernels.reports.length === 0)
    throw new UserError(
      'no-config',
      `no kernel configuration was found (/proc/config.gz, /boot/config-…, /usr/src/linux/.config)${kernels.withoutConfig.length > 0 ? ` for Linux ${kernels.withoutConfig.join(', ')}` : ''}; CONFIG_IKCONFIG_PROC gives a kernel the first of them`,
    )
  const how = facts.distro.adapter?.kernel ?? BUILD_KERNEL
  const none = { changes: [], settings: [], notes: [], rebootNeeded: false }
  const json: BindVfio = {
    ...answerJson(context.script, 'kernel-config', none, selected, []),
    kernels: kernels.reports,
  }
  return {
    code: lacksAnything(kernels.reports) ? 1 : 0,
    json,
    text: (style) => kernelText(style, kernels, how),
  }
}

const BUILD_KERNEL =
  'install a kernel package that has it, or build one: make olddefconfig && make && make modules_install install'

function kernelText(style: TerminalStyle, { reports, withoutConfig, cpu }: KernelReports, advice: string): string {
  const parts = reports.map((report) => kernelReportText(style, report))
  const rest = [
    ...withoutConfig.map((release) => `Linux ${release}: its configuration was not found.`),
    ...(cpu === null ? ["Whose CPU this is was not seen: its IOMMU's and KVM's symbols were not looked at."] : []),
    ...(lacksAnything(reports)
      ? [`All of it takes a new kernel: ${advice}; then reboot. In menuconfig, / and the symbol finds it.`]
      : []),
  ]
  return `${parts.join('\n')}${rest.map((line) => `\n${printable(line)}\n`).join('')}`
}

function kernelReportText(style: TerminalStyle, report: KernelReport): string {
  const { hints, path, release } = report
  const required = hints.filter(({ need }) => need === 'required').length
  const where = release === null ? '' : ` (${path})`
  const count = required === 0 ? 'nothing that is required is missing' : `${required} required`
  const head = `${paint(style, 'bold', printable(`${reportTitle(report)}${where}`))}: ${count}\n`
  const line = configLine(hints)
  return `${head}${hints.map((hint) => kernelHintText(style, hint)).join('')}${line === '' ? '' : `  In its source tree: ${line}\n`}`
}

function kernelHintText(style: TerminalStyle, hint: KernelHint): string {
  const mark = hint.need === 'required' ? paint(style, 'red', 'required') : paint(style, 'yellow', 'useful  ')
  const lines = [hintText(hint), hint.why, hint.menu].filter((line, index, all) => all.indexOf(line) === index)
  return lines.map((line, index) => `  ${index === 0 ? mark : '        '}  ${printable(line)}\n`).join('')
}

/** Returns the lines below the message of a refusal whose cause is a kernel's configuration. */
function kernelLines(findings: readonly Finding[], notes: readonly string[]): string[] {
  const lines = findings.flatMap(({ summary, evidence, next }) => [
    summary,
    ...evidence,
    ...(next === null ? [] : [`→ ${next}`]),
  ])
  return [...lines, ...notes]
}

/** Runs `work`, and adds these findings to a refusal that a kernel's configuration may explain. */
export function withKernelFindings<T>(work: () => T, { findings, notes }: { findings: Finding[]; notes: string[] }): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof UserError) || !/^(no-vfio|needs-address|iommu-off)$/.test(error.code)) throw error
    throw new UserError(error.code, error.message, [...error.details, ...kernelLines(findings, notes)])
  }
}
