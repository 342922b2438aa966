import { describe, expect, it } from 'vitest'
import { domainHost, genDomain } from '../support/domain.ts'
import { addFiles } from '../support/fake/host.ts'
import { addFirmware, description, SITUATION_NAMES, type SituationName } from '../support/firmware.ts'
import { loadMachine, type Machine, machineDir, scratchDir, writeMachine } from '../support/machine.ts'
import type { Ran } from '../support/run.ts'

// Which UEFI image a guest gets, by what the host describes and has.

const HOSTS = new Map(SITUATION_NAMES.map((name) => [name, domainHost(undefined, name)]))
const on = (situation: SituationName, guest: string, ...args: string[]): Ran =>
  genDomain(HOSTS.get(situation) ?? '', '--name', 'x', '--guest', guest, ...args)

/** `enrolled-keys=yes secure-boot=yes`: what libvirt is asked for, or which files it is given. */
function asked({ stdout }: Ran): string {
  const os = /<os[\s\S]*?<\/os>/.exec(stdout)?.[0] ?? ''
  const features = [...os.matchAll(/<feature enabled='(\w+)' name='([\w-]+)'/g)].map(([, is, name]) => `${name}=${is}`)
  const files = [...os.matchAll(/template='([^']+)'|>(\/[^<]+)<\/loader>/g)].map(([, vars, code]) => vars ?? code)
  const format = / format='(\w+)'/.exec(os)?.[1]
  return [...features, ...files, ...(format === undefined ? [] : [format])].join(' ')
}

const NIX = '/run/libvirt/nix-ovmf'
const EDK2 = '/usr/share/edk2/ovmf'

describe('libvirt', () => {
  it.each<[SituationName, string, string, string[]?]>([
    ['debian', 'windows11', 'secure-boot=yes enrolled-keys=yes'],
    ['debian', 'windows10', 'secure-boot=no'],
    // i440fx has no SMM: one image of one kind, and nothing to choose.
    ['debian', 'linux', '', ['--chipset', 'i440fx']],
    ['fedora', 'windows11', 'secure-boot=yes enrolled-keys=yes', ['--libvirt', '11.0.0']],
    ['fedora', 'linux', 'secure-boot=no', ['--libvirt', '11.0.0']],
    ['qemu', 'windows11', 'secure-boot=yes'],
    ['qemu', 'linux', 'secure-boot=no'],
    ['nixos', 'windows11', `${NIX}/edk2-x86_64-secure-code.fd ${NIX}/edk2-i386-vars.fd`],
    ['nixos', 'linux', `${NIX}/edk2-x86_64-code.fd ${NIX}/edk2-i386-vars.fd`],
    ['none', 'windows7', ''],
  ])('%s, %s: %s', (situation, guest, wanted, args = []) => {
    const ran = on(situation, guest, ...args)
    expect([ran.code, asked(ran)]).toEqual([0, wanted])
    expect(ran.stdout).not.toContain('/nix/store')
  })

  it('keys that nobody enrolled are said, and how they come in', () => {
    const { stderr } = on('qemu', 'windows11')
    expect(stderr).toMatch(/Secure Boot stays off.*virt-fw-vars --inplace FILE --enroll-redhat --secure-boot/)
    expect(stderr).toContain('FILE being /var/lib/libvirt/qemu/nvram/x_VARS.fd')
    expect(on('debian', 'windows11').stderr).not.toContain('Secure Boot')
  })

  it('of an image that was named, what it has is said, and not what the host has', () => {
    const named = (guest: string, image: string): string =>
      on('debian', guest, '--loader', `/usr/share/OVMF/OVMF_CODE_4M${image}.fd`).stderr
    expect(named('windows11', '')).toMatch(/OVMF_CODE_4M\.fd: holds no Secure Boot .* leave --loader out/)
    expect(named('windows11', '.secboot')).toMatch(/^gen-domain: --loader \S+secboot\.fd: has not Microsoft's keys/)
    expect(named('windows11', '.ms')).not.toContain('--loader')
    expect(named('linux', '.ms')).toMatch(/--loader \S+ms\.fd: has Microsoft's keys enrolled: Secure Boot is on/)
    for (const image of ['', '.secboot', '.ms'])
      expect(named('windows11', image) + named('linux', image)).not.toMatch(/this host/)
  })

  it('images of one kind alone: nothing is excluded, and their keys are said', () => {
    const enrolled = domainHost((machine) => {
      addFirmware(machine, 'none')
      addFiles(machine, {
        '/usr/share/qemu/firmware/30-only.json': JSON.stringify(
          description('/usr/share/OVMF/a.fd', '/usr/share/OVMF/b.fd', 'requires-smm', 'secure-boot', 'enrolled-keys'),
        ),
        '/usr/share/OVMF/a.fd': '',
        '/usr/share/OVMF/b.fd': '',
      })
    }, 'none')
    const ran = genDomain(enrolled, '--name', 'x', '--guest', 'linux')
    expect([ran.code, asked(ran)]).toEqual([0, ''])
    expect(ran.stderr).toContain('Secure Boot is on')
  })

  it('no image, or one that this libvirt cannot use, is refused before the guest is defined', () => {
    expect(on('none', 'windows11')).toMatchObject({ code: 2, stdout: '' })
    expect(on('none', 'linux').stderr).toMatch(/a UEFI image and its variables: not found .*--firmware bios/)
    expect(on('fedora', 'linux')).toMatchObject({ code: 2, stdout: '' })
    expect(on('fedora', 'linux').stderr).toMatch(/qcow2, which libvirt uses from 9\.2 on, and this one is 9\.0\.0/)
  })

  it('a captured machine whose images nobody asked for: no more is asked for than every host has', () => {
    const ran = genDomain(machineDir('sriov-nic'), '--name', 'x', '--guest', 'windows11', '--memory', '4G')
    expect([ran.code, asked(ran)]).toEqual([0, 'secure-boot=yes'])
    const linux = genDomain(machineDir('sriov-nic'), '--name', 'x', '--guest', 'linux', '--memory', '4G')
    expect([linux.code, asked(linux)]).toEqual([0, 'enrolled-keys=no'])
  })

  describe('what libvirt says of its images (12.1) decides', () => {
    /** As formatdomaincaps has it, on a host whose images are seen here, or not. */
    function told(seen: boolean, guest: string, secureBoot: string, enrolledKeys: string): Ran {
      const enums = Object.entries({ secureBoot, enrolledKeys }).map(
        ([name, values]) => `<enum name='${name}'>${values.replace(/\w+/g, '<value>$&</value>')}</enum>`,
      )
      const features = `<firmwareFeatures supported='yes'>${enums.join('')}</firmwareFeatures>`
      const text = `<domainCapabilities><os supported='yes'>${features}</os></domainCapabilities>`
      const add = (machine: Machine): void => addFiles(machine, { '/run/vfio-scripts/domcapabilities.xml': text })
      const machine = loadMachine('sriov-nic')
      add(machine)
      const dir = scratchDir('told')
      writeMachine(machine, dir)
      return genDomain(seen ? domainHost(add) : dir, '--name', 'x', '--guest', guest, '--memory', '4G')
    }

    it.each([
      [true, 'windows11', 'yes no', 'yes no', 'secure-boot=yes enrolled-keys=yes'],
      [true, 'windows11', 'yes no', 'no', 'secure-boot=yes'],
      [true, 'linux', 'yes', 'yes no', 'enrolled-keys=no'],
      [false, 'windows11', 'yes no', 'yes no', 'secure-boot=yes enrolled-keys=yes'],
      [false, 'windows11', 'yes', 'no', 'secure-boot=yes'],
      [false, 'linux', 'yes no', 'yes no', 'secure-boot=no enrolled-keys=no'],
      [false, 'linux', 'yes', 'yes', ''],
      [false, 'linux', 'no', 'no', ''],
    ])('images seen: %s, %s, secureBoot %s, enrolledKeys %s: %s', (seen, guest, secure, keys, wanted) => {
      const ran = told(seen, guest, secure, keys)
      expect([ran.code, asked(ran)]).toEqual([0, wanted])
    })

    it('keys are said, and that there is no image with Secure Boot', () => {
      expect(told(false, 'windows11', 'yes', 'no').stderr).toMatch(/Secure Boot stays off/)
      expect(told(false, 'linux', 'yes', 'yes').stderr).toMatch(/Secure Boot is on/)
      expect(told(false, 'linux', 'yes no', 'yes no').stderr).not.toMatch(/Secure Boot/)
      const none = told(false, 'windows11', 'no', 'no')
      expect([none.code, none.stderr]).toEqual([2, expect.stringMatching(/Secure Boot .*not found on this host/)])
    })
  })

  it('a description that /etc takes out of use is none', () => {
    const masked = domainHost((machine: Machine) =>
      addFiles(machine, { '/etc/qemu/firmware/40-edk2-x86_64-secure-enrolled.json': '' }),
    )
    expect(asked(genDomain(masked, '--name', 'x', '--guest', 'windows11'))).toBe('secure-boot=yes')
  })

  it('before it knew features (7.2), the loader asks', () => {
    const { stdout } = on('debian', 'windows11', '--libvirt', '7.0.0')
    expect(stdout).toContain("<loader secure='yes'/>")
    expect(stdout).not.toContain('<feature enabled=')
  })
})

describe('--format qemu', () => {
  it.each<[SituationName, string, string, string, string]>([
    ['debian', 'windows11', '/usr/share/OVMF/OVMF_CODE_4M.ms.fd', '/usr/share/OVMF/OVMF_VARS_4M.ms.fd', 'raw'],
    ['debian', 'linux', '/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd', 'raw'],
    ['fedora', 'windows11', `${EDK2}/OVMF_CODE_4M.secboot.qcow2`, `${EDK2}/OVMF_VARS_4M.secboot.qcow2`, 'qcow2'],
    ['fedora', 'linux', `${EDK2}/OVMF_CODE_4M.qcow2`, `${EDK2}/OVMF_VARS_4M.qcow2`, 'qcow2'],
    ['qemu', 'linux', '/usr/share/qemu/edk2-x86_64-code.fd', '/usr/share/qemu/edk2-i386-vars.fd', 'raw'],
    ['nixos', 'windows11', `${NIX}/edk2-x86_64-secure-code.fd`, `${NIX}/edk2-i386-vars.fd`, 'raw'],
  ])('%s, %s: %s, a copy of %s, both %s', (situation, guest, code, vars, format) => {
    const { stdout } = on(situation, guest, '--format', 'qemu')
    const own = format === 'raw' ? 'vars.fd' : 'vars.qcow2'
    expect(stdout).toContain(`-drive if=pflash,format=${format},readonly=on,file=${code} `)
    expect(stdout).toContain(`cp ${vars} "$dir/${own}"`)
    expect(stdout).toContain(`-drive if=pflash,format=${format},file="$dir"/${own} `)
    expect(stdout.includes('smm=on')).toBe(guest === 'windows11')
  })

  it('images that garbage collection may remove are none', () => {
    const store = '/nix/store/00000000000000000000000000000000-qemu-10.1.2/share/qemu'
    const host = domainHost((machine) => {
      addFirmware(machine, 'nixos')
      machine.links = Object.fromEntries(
        Object.entries(machine.links ?? {}).filter(([path]) => !path.startsWith('/run/libvirt')),
      )
      addFiles(machine, { [`${store}/x`]: '' })
    }, 'none')
    const ran = genDomain(host, '--name', 'x', '--guest', 'linux', '--format', 'qemu')
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toContain('in /nix/store alone, which garbage collection empties')
  })
})
