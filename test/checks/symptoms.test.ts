import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { recognise, SYMPTOMS } from '../../lib/checks/symptoms.ts'
import type { Script } from '../../lib/terminal/options.ts'
import { answer, check, host } from '../support/checking.ts'
import { expectError } from '../support/expect.ts'
import { PROJECT, runScript } from '../support/run.ts'

/** Lines as the kernel, QEMU and libvirt write them, and what people write, each with the symptom's title. */
const LINES: [line: string, title: string][] = [
  [
    'qemu-system-x86_64: -device vfio-pci,host=0000:01:00.0: vfio 0000:01:00.0: group 1 is not viable',
    'vfio 0000:01:00.0: group 1',
  ],
  [
    'Please ensure all devices within the iommu_group are bound to their vfio bus driver.',
    'vfio 0000:01:00.0: group 1',
  ],
  [
    '[   12.3] vfio-pci 0000:01:00.0: Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.',
    'Firmware has requested',
  ],
  [
    '[  9.1] vfio-pci 0000:01:00.0: Device is ineligible for IOMMU domain attach due to platform RMRR requirement.  Contact your platform vendor.',
    'Firmware has requested',
  ],
  ["[  8.0] vfio-pci 0000:01:00.0: BAR 1: can't reserve [mem 0xe0000000-0xefffffff 64bit pref]", 'BAR 1'],
  ["[  8.0] vfio-pci 0000:01:00.0: BAR 1 [mem 0xe0000000-0xefffffff 64bit pref]: can't reserve", 'BAR 1'],
  ['vfio 0000:01:00.0: Failed to mmap 0000:01:00.0 BAR 1. Performance may be slow', 'Failed to mmap'],
  [
    '[ 99.9] vfio-pci 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible',
    'Unable to change',
  ],
  ["internal error: Unknown PCI header type '127' for device '0000:01:00.0'", 'Unknown PCI header'],
  ['vfio: Cannot reset device 0000:01:00.0, no available reset mechanism.', 'Cannot reset'],
  ['VFIO_MAP_DMA failed: Cannot allocate memory', 'VFIO_MAP_DMA failed: Cannot'],
  ['vfio_dma_map(0x55, 0x380000000000, 0x10000000, 0x7f) = -22 (Invalid argument)', 'VFIO_MAP_DMA failed: Invalid'],
  [
    'vfio 0000:01:00.0: failed to setup container for group 1: failed to set iommu for container: Operation not permitted',
    'failed to set iommu',
  ],
  [
    '[ 5.0] vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" to enable VFIO IOMMU support on this platform',
    'failed to set iommu',
  ],
  ['vfio 0000:01:00.0: no iommu_group found: No such file or directory', 'no iommu_group found'],
  ["unsupported configuration: host doesn't support passthrough of host PCI devices", 'no iommu_group found'],
  ['unsupported configuration: VFIO PCI device assignment is not supported by the host', 'no iommu_group found'],
  ['Device 0000:01:00.0 is already in use', 'Device is already in use'],
  [
    'Requested operation is not valid: PCI device 0000:01:00.0 is in use by driver QEMU, domain vm',
    'Device is already',
  ],
  ['nvidia still has the card', 'nvidia still'],
  ['\tKernel driver in use: nouveau', 'nvidia still'],
  ['Could not open /dev/vfio/14: Permission denied', '/dev/vfio/14: Permission'],
  ["Could not open '/dev/iommu': Permission denied", '/dev/vfio/14: Permission'],
  ['vfio 0000:01:00.0: failed to open /dev/vfio/14: No such file or directory', '/dev/vfio/14: No such'],
  ['Could not access KVM kernel module: No such file or directory', 'Could not access KVM'],
  ['Windows has stopped this device because it has reported problems. (Code 43)', 'Code 43'],
  ['I get a black screen when the VM starts', 'Black screen'],
  ['[ 1.0] vfio-pci 0000:01:00.0: Invalid PCI ROM header signature: expecting 0xaa55, got 0xffff', 'Black screen'],
  ["operation failed: Unable to find any firmware to satisfy 'efi'", 'Unable to find any'],
  ['the guest does not stop', 'The guest does not stop'],
  ['sound crackles in the guest', 'Sound crackles'],
  ['DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault addr 0xff reason 0x06', 'DMAR'],
  ["Requested operation is not valid: network 'default' is not active", "network 'default'"],
]

describe('messages', () => {
  it.each(LINES)('%s', (line, title) => {
    expect(recognise(line).map(({ symptom }) => symptom.title.slice(0, title.length))).toEqual([title])
  })

  it('each has a line here, and each title is recognised as itself', () => {
    for (const { title } of SYMPTOMS) {
      expect(
        LINES.some(([, start]) => title.startsWith(start)),
        title,
      ).toBe(true)
      expect(recognise(title).map(({ symptom }) => symptom.title)).toContain(title)
    }
  })

  it.each([
    '[ 1.0] pci 0000:01:00.0: BAR 1 [mem 0xe0000000-0xefffffff]',
    '[ 1.0] DMAR-IR: Enabled IRQ remapping in x2apic mode',
    '[ 1.0] vfio-pci 0000:01:00.0: enabling device (0000 -> 0003)',
    '\tKernel driver in use: vfio-pci',
    '2026-11-27 10:00:00.000+0000: shutting down, reason=shutdown',
  ])('nothing is seen in: %s', (line) => {
    expect(recognise(line)).toEqual([])
  })

  it('finds addresses, also without a domain', () => {
    expect(recognise('vfio 0000:01:00.0: group 1 is not viable')[0]?.address).toBe('0000:01:00.0')
    expect(recognise('DMAR: [DMA Read] Request device [02:00.1] fault addr 0')[0]?.address).toBe('0000:02:00.1')
    expect(recognise('VFIO_MAP_DMA failed: Cannot allocate memory')[0]?.address).toBe(null)
  })

  it('names checks and options that there are', () => {
    const codes = [...answer(check(host(), '--device', '02:00', '--json')).findings].map(({ code }) => code)
    const known = [...codes, 'drivers', 'images', 'boot-entries', 'rom-file', 'half-group', 'kernel-config']
    for (const { codes: own, title } of SYMPTOMS) for (const code of own) expect(known, title).toContain(code)
    const help = new Map(
      SCRIPT_NAMES.map((name) => [name, (JSON.parse(runScript(name, ['--help', '--json']).stdout) as Script).options]),
    )
    for (const { find, mend } of SYMPTOMS)
      for (const [, name = '', rest = ''] of `${find}; ${mend}`.matchAll(
        new RegExp(`(${SCRIPT_NAMES.join('|')})([^;,]*)`, 'g'),
      ))
        for (const [, option] of rest.matchAll(/--([\w-]+)/g))
          expect(
            help.get(name)?.map((one) => one.name),
            `${name} --${option}`,
          ).toContain(option)
  })
})

const SCRIPT_NAMES = [
  'list-iommu',
  'check-reset',
  'check-host',
  'bind-vfio',
  'override-same-id-gpu',
  'tune-host',
  'gen-domain',
]

describe('check-host --explain', () => {
  const message = "vfio-pci 0000:01:00.0: BAR 1: can't reserve [mem 0xe0000000-0xefffffff 64bit pref]"

  it('says what a message means, and what of it is so on this machine', () => {
    const ran = check(host(), '--explain', message)
    expect(ran.stdout).toContain(message)
    expect(ran.stdout).toMatch(/^ {2}Find the cause: {2}check-host --device 0000:01:00\.0$/m)
    expect(ran.stdout).toMatch(/problem {2}The firmware's framebuffer holds the card\n +\/proc\/iomem: .*BOOTFB/)
    expect(ran.code).toBe(1)
    const { explained, devices, findings } = answer(check(host(), '--explain', message, '--json'))
    expect(explained).toMatchObject([{ title: "BAR 1: can't reserve", line: message }])
    expect(devices.map(({ address }) => address)).toEqual(['0000:01:00.0'])
    expect(findings.map(({ code }) => code)).toContain('framebuffer')
    expect(findings.map(({ code }) => code)).not.toContain('swtpm')
  })

  it('of another card says that this is not so', () => {
    const ran = check(host(), '--explain', message.replace('01:00', '02:00'))
    expect(ran.stdout).not.toMatch(/framebuffer holds/)
  })

  it('looks for all of them in the logs, of a guest since its last start', () => {
    const log = '2026-11-26 10:00:00: starting up libvirt\nVFIO_MAP_DMA failed: Cannot allocate memory\n'
    const later = '2026-11-27 10:00:00: starting up libvirt\nvfio 0000:02:00.0: group 14 is not viable\n'
    const dir = host({ 'var/log/libvirt/qemu/vm.log': log + later })
    const { explained } = answer(check(dir, '--explain', 'logs', '--json'))
    expect(explained?.map(({ title }) => title)).toEqual(['vfio 0000:01:00.0: group 1 is not viable'])
    expect(check(host(), '--explain', 'logs').stdout).toBe('No message that is known here is in the logs.\n')
  })

  it('a message that is not known is an error, and cannot move the cursor', () => {
    expectError(
      check(host(), '--explain', 'all is \u001b[2Jwell'),
      'check-host: --explain: this message is not known here',
    )
  })
})

/** The commands in a text as code. */
function code(text: string): string {
  const words = '--[\\w-]+|ADDRESS|FILE|vm\\.xml|kvm|16G|8|performance|none43|unsafe-interrupts|net-\\w+|default|list'
  const names = [...SCRIPT_NAMES, 'virsh'].join('|')
  const command = `echo 0 > [^ ]+|(?:${names})(?: (?:${words})\\b)*(?: && virsh net-autostart default)?`
  return text.replace(new RegExp(command, 'g'), '`$&`')
}

it('docs/troubleshooting.md says what the script says', async () => {
  const path = `${PROJECT}docs/troubleshooting.md`
  const head = readFileSync(path, 'utf8').split('\n## ')[0]?.trimEnd() ?? ''
  const parts = SYMPTOMS.map(
    ({ title, means, find, mend }) =>
      `## ${title}\n\n${means}\n\n- Find the cause: ${code(find)}\n- Mend it: ${code(mend)}\n`,
  )
  await expect(`${head}\n\n${parts.join('\n')}`).toMatchFileSnapshot('../../docs/troubleshooting.md')
})
