import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { domainHost, genDomain, golden, invalid, LIBVIRTD, patch, startLibvirt, VALIDATOR } from '../support/domain.ts'
import { expectError } from '../support/expect.ts'
import { scratchDir } from '../support/machine.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'
import { has, PROJECT, runProgram } from '../support/run.ts'

const host = domainHost()

/** As somebody wrote it by hand: what is unknown, odd or old must come through as it is. */
const DOMAIN = `<?xml version='1.0' encoding='UTF-8'?>
<!-- WARNING: this file is mine -->
<domain type='kvm' xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>win10</name>
  <title>It&apos;s &quot;mine&quot; &amp; Ünïcödé</title>
  <metadata><app:note xmlns:app="urn:x"   kind = 'odd'>  two  spaces </app:note></metadata>
  <memory unit='GiB'>8</memory>
  <vcpu placement='static'>4</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
  </os>
  <features>
    <acpi/>
    <hyperv mode='custom'>
      <relaxed state='on'></relaxed>
    </hyperv>
  </features>
  <cpu mode='host-passthrough' check='none'/>
  <?keep this?>
  <devices>
    <emulator><![CDATA[/usr/bin/qemu-system-x86_64]]></emulator>
\t<controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'/>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='sda' bus='sata'/></disk>
    <interface type='bridge'>
      <source bridge='br0'/>
      <model type='virtio'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>
    <graphics type='spice' autoport='yes'/>
    <video><model type='qxl'/></video>
    <memballoon model='none'/>
  </devices>
  <q:commandline>
    <q:arg value='-fw_cfg'/>
    <q:arg value='opt/x={"a": 1}'/>
  </q:commandline>
</domain>
<!-- the end -->
`

/** Golden file → arguments of a patch. */
const PATCHES: Record<string, string[]> = {
  'patch-card': ['--gpu', '02:00'],
  'patch-rom-usb': [
    '--gpu',
    '02:00',
    '--rom',
    '/var/lib/libvirt/images/card.rom',
    '--usb',
    '1-1',
    '--optical',
    '/dev/sr0',
  ],
  'patch-hide': ['--nvidia-driver', '430', '--hugepages', '1G'],
  'patch-pin': ['--vcpus', '6', '--gpu', '02:00'],
  'patch-headless': [
    '--headless',
    '--tpm',
    '--looking-glass',
    '1920x1080',
    '--evdev',
    '/dev/input/by-id/k',
    '--share',
    '/srv',
  ],
  'patch-disk-nic': [
    '--disk',
    '/dev/sdb',
    '--network',
    'bridge:br1',
    '--network',
    'bridge:br0',
    '--audio',
    'pulseaudio',
  ],
}

describe('gen-domain --patch', () => {
  it.each(Object.entries(PATCHES))('%s: as it should be, and a second time changes nothing', async (name, args) => {
    const ran = patch(host, DOMAIN, ...args)
    expect(ran.code).toBe(0)
    await expect(ran.stdout).toMatchFileSnapshot(golden(name))
    const again = patch(host, ran.stdout, ...args)
    expect([again.stdout, again.code]).toEqual([ran.stdout, 0])
    expect(patch(host, ran.stdout, ...args, '--diff')).toMatchObject({ stdout: '', code: 0 })
    if (VALIDATOR) expect(invalid(ran.stdout.replace(/<metadata>.*<\/metadata>|<\?keep this\?>/g, ''))).toBe('')
  })

  it('takes the card out again, byte for byte; what it does not have is said, and nothing changes', () => {
    const patched = patch(host, DOMAIN, '--gpu', '02:00', '--usb', '046d:c52b').stdout
    expect(patched).not.toBe(DOMAIN)
    expect(patch(host, patched, '--remove', '02:00', '--remove', '046d:c52b')).toEqual({
      code: 0,
      stdout: DOMAIN,
      stderr: '',
    })
    expect(patch(host, patched, '--remove', '10de:1cb6', '--remove', '02:00.1', '--remove', '046d:c52b').stdout).toBe(
      DOMAIN,
    )
    const none = patch(host, DOMAIN, '--remove', '02:00')
    expect(none).toEqual({
      code: 0,
      stdout: DOMAIN,
      stderr: 'gen-domain: --remove 02:00: the domain has no such device\n',
    })
  })

  it('keeps line breaks of another system, quotes, and a document on one line', () => {
    const dos = DOMAIN.replaceAll('\n', '\r\n').replaceAll("model='pcie-root'", 'model="pcie-root"')
    const patched = patch(host, dos, '--gpu', '02:00').stdout
    expect(patched.replaceAll('\r\n', '')).not.toContain('\n')
    expect(patch(host, patched, '--remove', '02:00').stdout).toBe(dos)
    const line = '<domain><name>x</name><os><type machine="q35">hvm</type></os><devices/></domain>'
    const short = patch(host, line, '--gpu', '02:00').stdout
    expect(short).toMatch(/^<domain>.*<devices><controller type="pci" index="1" .*<\/hostdev><\/devices><\/domain>$/)
    expect(patch(host, short, '--remove', '02:00').stdout).toBe(line.replace('<devices/>', '<devices></devices>'))
  })

  it('adds the function that is missing beside the other', () => {
    const half = patch(host, DOMAIN, '--gpu', '02:00.0', '--force', 'partial-card').stdout
    const whole = patch(host, half, '--gpu', '02:00').stdout
    expect(whole).toBe(patch(host, DOMAIN, '--gpu', '02:00').stdout)
  })

  it('shows what changes with --diff, and says so with exit code 1', () => {
    const ran = patch(host, DOMAIN, '--hide-kvm', '--diff')
    expect(ran.code).toBe(1)
    expect(ran.stdout.split('\n').filter((line) => /^[-+]/.test(line))).toEqual([
      "+      <vendor_id state='on' value='vfioscripts'/>",
      '+    <kvm>',
      "+      <hidden state='on'/>",
      '+    </kvm>',
      "+    <ioapic driver='kvm'/>",
    ])
  })

  it('refuses a number that the domain divides by hand, and leaves what it was given for sound', () => {
    const cells = DOMAIN.replace(
      "<cpu mode='host-passthrough' check='none'/>",
      "<cpu><numa><cell id='0' cpus='0-3' memory='8' unit='GiB'/></numa></cpu>",
    )
    expectError(patch(host, cells, '--vcpus', '6'), '6 vCPUs: the domain divides it in <numa>')
    expectError(patch(host, cells, '--memory', '4G'), 'memory: the domain divides it in <numa>')
    expect(patch(host, cells, '--memory', '8G').stdout).toBe(cells)
    const heard = DOMAIN.replace('<memballoon', "<sound model='ich6'/><audio id='3' type='spice'/>\n    <memballoon")
    expect(patch(host, heard, '--headless').stdout).toContain("<sound model='ich6'/><audio id='3' type='none'/>")
    expect(patch(host, heard, '--audio', 'pulseaudio').stdout).toContain(
      "<sound model='ich6'/><audio id='3' type='pulseaudio' serverName='/run/user/1000/pulse/native'/>",
    )
  })

  it('reads standard input, and says what it did as JSON', () => {
    const ran = runProgram('bash', [
      '-c',
      'printf "%s" "$0" | node "$1"/scripts/gen-domain.mjs --patch - --root "$2" --gpu 02:00 --json',
      DOMAIN,
      PROJECT,
      host,
    ])
    const json = JSON.parse(ran.stdout)
    expect(json).toMatchObject({ schema: 'vfio-scripts/gen-domain/1', changed: true, guest: null })
    expect(json.xml).toBe(patch(host, DOMAIN, '--gpu', '02:00').stdout)
  })

  it.each(['--name', '--guest', '--iso', '--chipset'])('%s is for new guests', (option) => {
    const value = { '--guest': 'linux', '--chipset': 'q35', '--iso': '/x.iso' }[option] ?? 'x'
    expectError(patch(host, DOMAIN, option, value), `${option} is for a new guest`)
  })
})

it.each(['--mac 52:54:00:00:00:01', '--disk-bus scsi', '--audio-user ada'])('%s alone patches nothing', (text) => {
  expectError(patch(host, DOMAIN, ...text.split(' ')), `${text.split(' ')[0]} goes with --`)
})

needs('libvirtd, virsh and QEMU', LIBVIRTD).describe('libvirtd, after a patch', () => {
  it('defines it, and what it prints then can be patched back', async () => {
    const libvirt = await startLibvirt()
    try {
      const plain = libvirt.define(genDomain(host, '--name', 'a', '--guest', 'linux').stdout)
      expect(plain.error).toBe('')
      const patched = patch(host, plain.xml, '--gpu', '02:00', '--hide-kvm', '--usb', '1-1', '--vcpus', '4')
      const defined = libvirt.define(patched.stdout)
      expect(defined.error).toBe('')
      const removed = patch(host, defined.xml, '--remove', '02:00').stdout
      expect(defined.xml).toMatch(
        /<hostdev [^>]*type='pci'[\s\S]*ua-vfio-port|ua-vfio-port[\s\S]*<hostdev [^>]*type='pci'/,
      )
      expect(removed).not.toMatch(/<hostdev [^>]*type='pci'|ua-vfio-port/)
      expect(libvirt.define(removed).error).toBe('')
    } finally {
      libvirt.stop()
    }
  }, 120_000)
})

// People's own domains, kept beside the checkout where there are any; they are nobody's to redistribute here.
const DOMAINS = `${PROJECT}../shared/machines/domains`
const documents = (existsSync(DOMAINS) ? readdirSync(DOMAINS, { recursive: true }).map(String) : [])
  .filter((name) => name.endsWith('.xml'))
  .filter((name) => runProgram('grep', ['-q', '<domain', `${DOMAINS}/${name}`]).code === 0)

function canonical(xml: string): string {
  const file = `${scratchDir('c14n')}/domain.xml`
  writeFileSync(file, xml)
  const { code, stdout, stderr } = runProgram('xmllint', ['--c14n', file])
  return code === 0 && stderr === '' ? stdout : `not well-formed: ${stderr}`
}

needs(`${REAL_FILES} and xmllint`, documents.length > 0 && has('xmllint')).describe('real domains', () => {
  it.each(sampleOf(documents, 12))('%s', (name) => {
    const text = readFileSync(`${DOMAINS}/${name}`, 'utf8')
    const before = canonical(text)
    const card = /bus=.0x02. slot=.0x00. function=.0x0.\/>\s*<\/source>/.test(text) ? '00:08.0' : '02:00'
    const patched = patch(host, text, '--gpu', card)
    const root = /^<(\w+)/.exec(before.replace(/<[!?][\s\S]*?>\s*/g, ''))?.[1]
    if (before.startsWith('not well-formed') || root !== 'domain') {
      expect([patched.code, patched.stdout]).toEqual([2, ''])
      return
    }
    expect(patched.stdout.split('<hostdev ').length).toBeGreaterThan(text.split('<hostdev ').length)
    expect(patch(host, patched.stdout, '--gpu', card).stdout).toBe(patched.stdout)
    const removed = patch(host, patched.stdout, '--remove', card)
    expect(canonical(removed.stdout)).toBe(before)
    expect(removed.stdout).toBe(text)
    if (VALIDATOR && invalid(text) === '') expect(invalid(patched.stdout)).toBe('')
  })
})
