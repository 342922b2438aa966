import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { domainHost, genDomain } from '../support/domain.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, runProgram, works } from '../support/run.ts'

// The same guests without libvirt: a shell program, read by shellcheck and run with the real QEMU.

const IMAGES = '/var/lib/libvirt/images'
const card = ['--gpu', '02:00']
const disk = ['--disk', `${IMAGES}/guest.qcow2`]
const dir = domainHost()
const script = (...args: string[]): string => {
  const ran = genDomain(dir, '--name', 'one', '--format', 'qemu', ...args)
  expect(ran).toMatchObject({ code: 0 })
  return ran.stdout
}

const GUESTS: Record<string, string[]> = {
  windows11: ['--guest', 'windows11', ...card, ...disk, '--iso', `${IMAGES}/windows.iso`, '--memory', '2G'],
  'virtio-drivers': [
    ...['--guest', 'windows10', ...card, ...disk, '--memory', '1G'],
    ...['--iso', `${IMAGES}/windows.iso`, '--virtio-iso', `${IMAGES}/virtio-win.iso`],
  ],
  windows10: [
    '--guest',
    'windows10',
    ...card,
    ...disk,
    '--disk-bus',
    'sata',
    '--hide-kvm',
    '--vendor-id',
    'Some One',
    '--memory',
    '1G',
  ],
  windows7: ['--guest', 'windows7', ...card, ...disk, '--x-vga', '--headless', '--memory', '1G'],
  i440fx: [
    '--guest',
    'windows10',
    ...card,
    ...disk,
    '--chipset',
    'i440fx',
    '--pci',
    '00:08.0',
    '--headless',
    '--memory',
    '1G',
  ],
  pinned: ['--guest', 'linux', ...card, ...disk, '--vcpus', '4', '--headless', '--memory', '1G'],
  hugepages: ['--guest', 'linux', ...disk, '--hugepages', '2M', '--memory', '1G', '--headless', '--usb', '1234:5678'],
  optical: [
    '--guest',
    'windows10',
    ...disk,
    '--disk-bus',
    'scsi',
    '--optical',
    '/dev/sr0',
    '--headless',
    '--network',
    'bridge:br0',
  ],
}

describe('--format qemu', () => {
  it.each(Object.keys(GUESTS))('%s: the program as it was read', async (name) => {
    await expect(script(...(GUESTS[name] ?? []))).toMatchFileSnapshot(`../golden/gen-domain/${name}.sh`)
  })

  it('a USB device by its port: the bus is told beside it', () => {
    expect(script('--guest', 'linux', '--usb', '1-3')).toContain('usb-host,hostbus=1,hostport=3 ')
    const notes = (...more: string[]): string =>
      genDomain(dir, '--name', 'one', '--guest', 'linux', '--usb', '1-3', ...more).stderr
    expect(notes()).toContain('it goes by its number')
    expect(notes('--format', 'qemu')).not.toContain('it goes by its number')
  })

  needs('shellcheck').it('shellcheck finds nothing in them, whatever the paths', () => {
    const file = join(scratchDir('qemu'), 'guest.sh')
    for (const args of Object.values(GUESTS)) {
      writeFileSync(file, script(...args))
      expect(runProgram('shellcheck', [file])).toEqual({ code: 0, stdout: '', stderr: '' })
    }
  })

  // Without /dev/kvm and the card: emulated, with another device in the card's place.
  needs(
    'QEMU, qemu-img, swtpm and OVMF',
    ['qemu-system-x86_64', 'qemu-img', 'swtpm'].every(has) && existsSync('/usr/share/OVMF/OVMF_CODE_4M.ms.fd'),
  ).it.each(Object.keys(GUESTS).filter((name) => !['optical', 'hugepages'].includes(name)))(
    '%s: the real QEMU takes it',
    (name) => {
      const home = scratchDir('qemu')
      mkdirSync(join(home, 'images'))
      for (const image of ['guest.qcow2', 'windows.iso', 'virtio-win.iso'])
        runProgram('qemu-img', [
          'create',
          '-f',
          image.endsWith('iso') ? 'raw' : 'qcow2',
          join(home, 'images', image),
          '8M',
        ])
      const wrapper = join(home, 'qemu')
      const edits = [
        's/accel=kvm/accel=tcg/',
        's/kernel-irqchip=on/kernel-irqchip=off/',
        's/^(host|core2duo),.*/max/',
        's/vfio-pci,host=[^,]*/virtio-rng-pci/',
        's/,(x-vga=on|romfile=[^,]*)//g',
        `s#${IMAGES}#${home}/images#`,
      ]
      writeFileSync(
        wrapper,
        `#!/bin/bash\nargs=()\nfor word; do args+=("$(sed -E ${edits.map((one) => `-e '${one}'`).join(' ')} <<<"$word")"); done\nexec qemu-system-x86_64 "\${args[@]}"\n`,
      )
      chmodSync(wrapper, 0o755)
      const file = join(home, 'guest.sh')
      // This machine may have fewer CPUs.
      writeFileSync(file, script(...(GUESTS[name] ?? [])).replace(/^exec taskset -c \S+/m, 'exec'))
      const talk =
        '{"execute":"qmp_capabilities"}{"execute":"human-monitor-command","arguments":{"command-line":"info qtree"}}{"execute":"quit"}'
      const command = `printf '%s' '${talk}' | sh '${file}' -S -qmp stdio`
      const ran = runProgram('bash', ['-c', command], {
        env: { ...process.env, HOME: home, XDG_STATE_HOME: home, QEMU: wrapper },
      })
      expect(ran.stderr.replace(/^.*warning:.*\n.*topoext.*\n/m, '')).not.toMatch(/qemu/i)
      expect(ran.stdout).toMatch(/"SHUTDOWN"/)
      // Both functions of the card are on one slot of the guest.
      const found = ran.stdout.matchAll(/dev: virtio-rng-pci.*?addr = ([0-9a-f]+)\.([0-9])/g)
      const slots = [...found].map(([, slot, fn]) => `${slot}.${fn}`).sort()
      const base = name === 'i440fx' ? '10' : '00'
      expect(slots.slice(0, 2)).toEqual([`${base}.0`, `${base}.1`])
    },
  )

  const makes = 'ip tuntap add tap0 mode'
  needs('QEMU and TAP devices', has('qemu-system-x86_64') && works('unshare', '-rn', ...`${makes} tap`.split(' '))).it(
    'a TAP device that somebody made is opened by the real QEMU',
    () => {
      const [netdev = ''] = /tap,ifname=\S+/.exec(script('--guest', 'linux', '--network', 'tap:tap0')) ?? []
      const qemu = `qemu-system-x86_64 -machine none -nodefaults -display none -monitor stdio -netdev '${netdev}'`
      const start = (mode: string) =>
        runProgram('unshare', ['-rn', 'sh', '-c', `${makes} ${mode} && echo quit | ${qemu}`])
      expect(start('tap').code).toBe(0)
      expect(start('tun').stderr).toContain('tap0')
    },
  )

  it.each<[string, string[], RegExp]>([
    [
      'a network of libvirt',
      ['--network', 'network:default'],
      /libvirt alone has that; with --format qemu: bridge:NAME/,
    ],
    ['macvtap', ['--network', 'macvtap:enp4s0'], /libvirt alone has that/],
  ])('refuses %s', (_, args, says) => {
    const ran = genDomain(dir, '--name', 'one', '--guest', 'linux', '--format', 'qemu', ...args)
    expect(ran.stderr).toMatch(says)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
  })

  it('goes with new guests only', () => {
    const ran = genDomain(dir, '--patch', '/dev/null', '--format', 'qemu')
    expect(ran).toMatchObject({ code: 2, stdout: '' })
  })

  it('doubles commas and quotes what a shell would read', () => {
    const text = script('--guest', 'linux', '--evdev', "/dev/input/a,b it's")
    expect(text).toContain("'input-linux,id=input0,evdev=/dev/input/a,,b it'\\''s,grab_all=on,repeat=on'")
  })
})
