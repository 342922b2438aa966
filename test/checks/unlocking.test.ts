import { Buffer } from 'node:buffer'
import { describe, expect, it } from 'vitest'
import {
  addBlock,
  addFiles,
  addInput,
  addInterface,
  addLinks,
  addMount,
  addNvme,
  addRoute,
} from '../support/fake/host.ts'
import { idle, judge, NIC, NVME } from '../support/judge.ts'
import type { Machine } from '../support/machine.ts'

/** A LUKS2 header with these tokens. */
function header(...tokens: object[]): Buffer {
  const json = JSON.stringify({ keyslots: {}, tokens: { ...tokens }, config: {} })
  return Buffer.from(`LUKS\u00ba\u00be${'\0'.repeat(4090)}${json}\0`, 'latin1')
}

function sealed(clevis: object): object {
  return { type: 'clevis', jwe: { protected: Buffer.from(JSON.stringify({ clevis })).toString('base64url') } }
}

/** A root file system on LUKS on the NVMe drive; the keyboard is a USB one, the console on the boot VGA. */
function encrypted(machine: Machine): void {
  idle(machine)
  addNvme(machine, NVME, [{}, { udev: { ID_FS_TYPE: 'crypto_LUKS' }, holders: ['dm-0'] }])
  addBlock(machine, 'dm-0', {
    number: '253:0',
    udev: {},
    dm: { name: 'cryptroot', uuid: 'CRYPT-LUKS2-0011-cryptroot' },
    slaves: ['nvme0n1p2'],
  })
  addBlock(machine, 'dm-1', {
    number: '253:1',
    udev: {},
    dm: { name: 'vg-root', uuid: 'LVM-abc' },
    slaves: ['dm-0'],
  })
  addMount(machine, '253:1', '/', 'ext4', '/dev/mapper/vg-root')
  addInput(machine, 'Dell KB216', '/devices/pci0000:00/0000:00:14.0/usb1/1-7/1-7:1.0/input/input3')
  addFiles(machine, {
    '/sys/devices/platform/efi-framebuffer.0/graphics/fb0/dev': '29:0\n',
    '/sys/class/vtconsole/vtcon1/name': '(M) frame buffer device\n',
    '/sys/class/vtconsole/vtcon1/bind': '1\n',
  })
  addLinks(machine, { '/sys/class/graphics/fb0': '/sys/devices/platform/efi-framebuffer.0/graphics/fb0' })
  addInterface(machine, 'eth0', { address: NIC })
  addRoute(machine, '0.0.0.0/0', 'eth0')
}

const ROOT = 'the root file system is in /dev/nvme0n1p2 (cryptroot)'

describe('unlock-device', () => {
  it('is never to be forced: the last keyboard, the console', () => {
    expect(judge('twin-gpus', ['00:14.0'], encrypted).of('unlock-device')).toMatchObject({
      state: 'problem',
      forceable: false,
      evidence: ['0000:00:14.0 → Dell KB216 is the last keyboard', ROOT],
    })
    expect(judge('twin-gpus', ['01:00'], encrypted).state('unlock-device')).toEqual([
      'problem',
      ["0000:01:00.0 → the firmware's frame buffer (efi-framebuffer.0) carries the text console", ROOT],
    ])
    expect(judge('twin-gpus', ['05:00'], encrypted).state('unlock-device')).toEqual(['ok', []])
    expect(judge('twin-gpus', ['03:00.0'], encrypted).state('unlock-device')).toEqual(['ok', []])
  })

  it('with dropbear in the initramfs it is the network card, and not the keyboard', () => {
    const remote = (machine: Machine): void => {
      encrypted(machine)
      addFiles(machine, { '/etc/dropbear/initramfs/authorized_keys': 'ssh-ed25519 …\n' })
    }
    expect(judge('twin-gpus', ['03:00.0'], remote).state('unlock-device')).toEqual([
      'problem',
      [
        '0000:03:00.0 → eth0 has the default route (IPv4, metric 100)',
        ROOT,
        'it can be unlocked over the network: /etc/dropbear/initramfs/authorized_keys',
      ],
    ])
    expect(judge('twin-gpus', ['00:14.0'], remote).state('unlock-device')).toEqual(['ok', []])
    const named = judge('twin-gpus', ['03:00.0'], (machine) => {
      remote(machine)
      machine.cmdline += ' ip=10.0.0.2::10.0.0.1:255.0.0.0:host:eth0:none'
    })
    expect(named.state('unlock-device')[1]?.[0]).toBe('0000:03:00.0 → eth0 is what ip= names')
  })

  it('a root file system that is not encrypted, and one of which that is not known', () => {
    const plain = judge('twin-gpus', ['01:00'], (machine) => {
      encrypted(machine)
      addMount(machine, '259:1', '/', 'ext4', '/dev/nvme0n1p1')
    })
    expect(plain.of('unlock-device')).toMatchObject({ state: 'ok', summary: 'The root file system is not encrypted' })
    const zfs = judge('twin-gpus', ['01:00'], (machine) => {
      encrypted(machine)
      addMount(machine, '0:29', '/', 'zfs', 'rpool/ROOT')
    })
    expect(zfs.state('unlock-device')).toEqual([
      'unknown',
      ['not seen: whether rpool/ROOT is encrypted (zfs get encryption)'],
    ])
  })
})

describe('tpm-unlock', () => {
  const tpm = (machine: Machine): void => {
    encrypted(machine)
    addFiles(machine, { '/sys/class/tpm/tpm0/dev': '10:224\n' })
  }
  const withHeader = (content: Buffer) => (machine: Machine) => {
    tpm(machine)
    addFiles(machine, { '/dev/nvme0n1p2': content })
  }

  it('crypttab says so', () => {
    const { of } = judge('twin-gpus', ['05:00'], (machine) => {
      withHeader(header())(machine)
      addFiles(machine, { '/etc/crypttab': 'cryptroot UUID=0011 none luks,tpm2-device=auto\nother UUID=2 none luks\n' })
    })
    expect(of('tpm-unlock')).toMatchObject({
      state: 'problem',
      forceable: true,
      evidence: ['/etc/crypttab: cryptroot has tpm2-device=auto'],
    })
  })

  it('the kernel command line says so', () => {
    const { state } = judge('twin-gpus', ['05:00'], (machine) => {
      withHeader(header())(machine)
      machine.cmdline += ' rd.luks.options=0011=discard,tpm2-device=auto'
    })
    expect(state('tpm-unlock')).toEqual(['problem', ['/proc/cmdline: rd.luks.options=0011=discard,tpm2-device=auto']])
  })

  it('a token in the LUKS header says so', () => {
    const enrolled = judge('twin-gpus', ['05:00'], withHeader(header({ type: 'systemd-tpm2' })))
    expect(enrolled.state('tpm-unlock')[1]).toEqual(['/dev/nvme0n1p2: the LUKS header has a systemd-tpm2 token'])
    const compact = (clevis: object): string => `${Buffer.from(JSON.stringify({ clevis })).toString('base64url')}.x.y`
    const both = { pin: 'sss', sss: { jwe: [compact({ pin: 'tpm2' }), compact({ pin: 'tang' })] } }
    const { state } = judge('twin-gpus', ['03:00.0'], withHeader(header(sealed(both))))
    expect(state('tpm-unlock')[1]).toEqual(['/dev/nvme0n1p2: the LUKS header has a clevis tpm2 token'])
    expect(state('unlock-device')[1]).toContain(
      'it can be unlocked over the network: /dev/nvme0n1p2: the LUKS header has a clevis tang token',
    )
  })

  it('a passphrase alone; no TPM; a header that cannot be seen', () => {
    expect(judge('twin-gpus', ['05:00'], withHeader(header({ type: 'systemd-recovery' }))).state('tpm-unlock')).toEqual(
      ['ok', []],
    )
    expect(judge('twin-gpus', ['05:00'], encrypted).state('tpm-unlock')).toEqual(['ok', []])
    expect(judge('twin-gpus', ['05:00'], tpm).state('tpm-unlock')).toEqual([
      'unknown',
      ['not seen: the LUKS header of /dev/nvme0n1p2'],
    ])
  })
})
