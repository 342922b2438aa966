import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply } from '../support/bind.ts'
import { answer, host } from '../support/checking.ts'
import { FAMILIES } from '../support/families.ts'
import * as loaders from '../support/loaders.ts'
import { scratchDir } from '../support/machine.ts'
import { runProgram, runScript } from '../support/run.ts'
import { ARGUMENTS, captured, escaped, FOUND, LINE, PLAIN, QUOTED, SECRET, withSecrets } from '../support/secrets.ts'
import { type System, systemDir, writeIn } from '../support/system.ts'

const systems: [string, System][] = [
  ...Object.keys(FAMILIES).map((family): [string, System] => [
    family,
    { machine: 'i9-14900k-vmd', family: family as keyof typeof FAMILIES },
  ]),
  ...Object.entries(loaders).flatMap(([name, one]): [string, System][] =>
    typeof one === 'object' && 'files' in one ? [[name, { machine: 'i9-14900k-vmd', ...one }]] : [],
  ),
]

describe('a capture has no secret of a command line', () => {
  it.each(systems)('%s', (_, system) => {
    const dir = withSecrets(system)
    writeIn(dir, 'proc/cmdline', `BOOT_IMAGE=/vmlinuz ${LINE} ${QUOTED.join(' ')}\n`)
    const { text, files } = captured(dir)
    expect(text.match(FOUND) ?? []).toEqual([])
    const line = files.get('/proc/cmdline') ?? ''
    for (const argument of PLAIN) expect(line).toContain(argument)
    for (const argument of ARGUMENTS) expect(line).toContain(argument.slice(0, argument.indexOf('=') + 1))
    expect(line).toContain('ip=')
    expect(line).toContain(':eth0:off')
  })

  it('in places of every kind, quoted as each wants it', () => {
    const dir = systemDir({ machine: 'i9-14900k-vmd' })
    const quoted = QUOTED.map(escaped).join(' ')
    const places: Record<string, string> = {
      'etc/default/grub': `GRUB_TIMEOUT=5\n# old: ${LINE}\nGRUB_CMDLINE_LINUX_DEFAULT="quiet ${escaped(LINE)} ${quoted}"\nGRUB_CMDLINE_LINUX='${LINE} ${QUOTED[0]}'\n`,
      'etc/default/grub.d/50-more.cfg': `GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX \\\n${escaped(LINE)}\n${ARGUMENTS.map(escaped).join('\n')}"\nGRUB_DEFAULT=saved\n`,
      'etc/kernel/cmdline': `${LINE}\n${QUOTED.join('\n')}\n`,
      'etc/kernel/cmdline.d/10.conf': `# mine Xq70\n${ARGUMENTS.join('\n')}\n`,
      'etc/kernel/uki.conf': `[UKI]\nCmdline=${LINE} ${QUOTED[0]}\nSecureBootPrivateKey=/root/Xq71.key\n`,
      'etc/cmdline.d/10.conf': `${LINE}\n`,
      'etc/dracut.conf.d/10.conf': `hostonly="yes"\nkernel_cmdline+=" ${escaped(LINE)} "\nkernel_cmdline="${ARGUMENTS.map(escaped).join(' \\\n')}"\n`,
      'etc/mkinitcpio.d/linux.preset': `default_options="--cmdline ${escaped(LINE)}"\n`,
      'etc/limine-entry-tool.conf': `KERNEL_CMDLINE[default]="${escaped(LINE)}"\n`,
      'etc/kernelstub/configuration': JSON.stringify({ user: { kernel_options: [...ARGUMENTS, ...QUOTED] } }),
      'etc/nixos/vfio.nix': `{ boot.kernelParams = [ ${ARGUMENTS.map((one) => `"${one}"`).join(' ')} ]; }\n`,
      'run/current-system/kernel-params': `${LINE} ${QUOTED.join(' ')}`,
      'boot/grub/grub.cfg': `set superusers="root"\npassword_pbkdf2 root grub.pbkdf2.sha512.10000.Xq72\npassword ann Xq73\nmenuentry 'Debian' --class debian {\n\tlinux /vmlinuz ${escaped(LINE)} ${QUOTED[0]}\n\tlinux\t/vmlinuz ${ARGUMENTS.map(escaped).join('\t')}\n}\n`,
      'boot/grub/grubenv': `# GRUB Environment Block\nkernelopts=${LINE}\nsaved_entry=x\n####\n`,
      'boot/loader/entries/x.conf': `title x\noptions ${LINE} ${QUOTED[0]}\noptions "${LINE}"\n`,
      'boot/refind_linux.conf': `"Boot" "${LINE}"\n'Boot' '${LINE} ${QUOTED[0]}'\n`,
      'boot/EFI/refind/refind.conf': `menuentry x {\n  options "${LINE}"\n}\n`,
      'boot/limine.conf': `/Arch\n    cmdline: ${LINE}\n    kernel_cmdline:${LINE}\n`,
      'boot/extlinux/extlinux.conf': `LABEL x\n  APPEND ${LINE}\n`,
      'boot/EFI/Linux/x.efi': loaders.unifiedImage(`${LINE} ${QUOTED.join(' ')}`),
      'run/ostree/staged-deployment': `\0\0kargs\0\0${ARGUMENTS.join('\0')}\0\0`,
      'ostree/deploy/x/deploy/0f3c.0.origin': `[origin]\ncontainer-image-reference=https://ann:Xq74@203.0.113.1/x\n`,
    }
    for (const [path, text] of Object.entries(places)) writeIn(dir, path, text)
    const { text, files } = captured(dir)
    expect(text.match(FOUND) ?? []).toEqual([])
    // Of what is no secret nothing is lost, and one value has one pseudonym everywhere.
    const shown = (path: string): string | undefined =>
      /iscsi_password=\W*(hidden-\d+)/.exec(files.get(`/${path}`) ?? '')?.[1]
    const same = [
      'etc/default/grub',
      'etc/default/grub.d/50-more.cfg',
      'etc/kernel/cmdline',
      'boot/grub/grub.cfg',
      'boot/loader/entries/x.conf',
    ]
    expect(new Set(same.map(shown)).size).toBe(1)
    expect(files.get('/etc/default/grub')).toMatch(
      /^GRUB_TIMEOUT=5\n#\nGRUB_CMDLINE_LINUX_DEFAULT="quiet systemd\.passwd=hidden-\d+ /,
    )
    expect(files.get('/etc/default/grub.d/50-more.cfg')).toMatch(/\nGRUB_DEFAULT=saved\n$/)
    const image = files.get('/boot/EFI/Linux/x.efi') ?? ''
    expect(image.slice(0x200).length).toBe(`${LINE} ${QUOTED.join(' ')}`.length + 1)
    expect(image).toContain('intel_iommu=on')
  })
})

it('a capture has no secret of any other file', () => {
  const dir = systemDir({ machine: 'i9-14900k-vmd' })
  const places: Record<string, string> = {
    'etc/NetworkManager/system-connections/home.nmconnection':
      '[connection]\nid=Xq1\n[wifi-security]\npsk=Xq2\n[vpn-secrets]\nanything=Xq3\n',
    'etc/netplan/01.yaml':
      'network:\n  wifis:\n    wlan0:\n      access-points:\n        "Xq4":\n          password: Xq5\n',
    'etc/network/interfaces': 'iface wlan0 inet dhcp\n  wpa-psk Xq6\n  post-up curl -u ann:Xq7 https://example.org\n',
    'etc/systemd/network/50-wg.netdev': '[WireGuard]\nPrivateKey=Xq8\n[WireGuardPeer]\nPresharedKey=Xq9\n',
    'etc/wpa_supplicant/wpa_supplicant.conf': 'network={\n ssid="Xq10"\n psk="Xq11"\n}\n',
    'etc/conf.d/net': 'key_wlan0="Xq12"\n',
    'etc/shadow': 'root:$6$Xq13:1::::::\n',
    'etc/libvirt/qemu.conf': '#vnc_password = "Xq14"\nvnc_password = "Xq15"\nspice_password="Xq16"\nuser = "root"\n',
    'etc/libvirt/qemu/vm.xml': "<domain><devices><graphics type='vnc' passwd='Xq17'/></devices></domain>\n",
    'etc/libvirt/secrets/x.base64': 'Xq18',
    'root/.ssh/id_ed25519': 'Xq19',
    'etc/fstab':
      'UUID=1 / ext4 defaults 0 1\n//203.0.113.3/Xq20 /mnt cifs username=Xq21,password=Xq22,credentials=/root/Xq23 0 0\nhttps://ann:Xq24@example.org/dav /dav davfs user 0 0\n',
    'etc/crypttab': 'cryptroot UUID=1 /root/Xq25.key luks,tpm2-device=auto,password-echo=no\n',
    'proc/self/mountinfo':
      '30 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n31 30 0:50 / /mnt rw - cifs //203.0.113.3/Xq26 rw,username=Xq27,addr=203.0.113.3\n',
    'proc/1/environ': 'TOKEN=Xq28\0',
    'proc/1/cmdline': '/sbin/init\0--token=Xq29\0',
    'proc/1/comm': 'systemd\n',
    'proc/1/fd/3': '→ /home/Xq38/diary',
    'proc/1/fd/4': '→ /dev/dri/card0',
    'proc/sys/kernel/hostname': 'Xq39.example.org\n',
    'sys/class/block/dm-0/dm/name': 'Xq39--vg-root\n',
    'etc/modprobe.d/mine.conf': '# Xq30\noptions vfio-pci ids=10de:1cb6\noptions wifi password=Xq31\n',
    'var/lib/dpkg/status': 'Package: Xq32\nVersion: 1\n\nPackage: qemu-system-x86\nVersion: 1:9.1\n',
    'run/udev/data/b259:2': 'S:disk/by-id/nvme-Xq33\nE:ID_SERIAL_SHORT=Xq34\nE:ID_FS_TYPE=ext4\nE:ID_WWN=Xq35\n',
    'etc/machine-id': 'c0ffee00c0ffee00c0ffee00c0ffee00\n',
    'var/lib/vfio-scripts/0001/entry.json': JSON.stringify({
      schema: 'vfio-scripts/journal/1',
      plan: {
        changes: [
          {
            kind: 'file',
            path: '/etc/network/interfaces',
            before: 'wpa-psk Xq36\niface eth0\n',
            after: 'wpa-psk Xq36\niface br0\n',
          },
          {
            kind: 'file',
            path: '/etc/default/grub',
            before: `GRUB_CMDLINE_LINUX="${LINE}"\n`,
            after: `GRUB_CMDLINE_LINUX="${LINE} iommu=pt"\n`,
          },
        ],
      },
    }),
    'var/lib/vfio-scripts/0001/before/0': 'wpa-psk Xq36\n',
    'var/lib/vfio-scripts/0001/undo.sh': '#!/bin/sh\n# Xq37\n',
    // 203.0.113.7:22 to 203.0.113.8, as the machine keeps it
    'proc/net/tcp':
      '  sl  local_address rem_address   st\n   0: 077100CB:0016 087100CB:D431 01 00000000:00000000 00:00000000 00000000     0        0 4711\n',
    'proc/net/route': 'Iface\tDestination\tGateway \tFlags\neth0\t007100CB\t00000000\t0001\t0\t0\t0\t00FFFFFF\n',
  }
  for (const [path, text] of Object.entries(places)) writeIn(dir, path, text)
  writeIn(dir, 'proc/cmdline', 'quiet root=/dev/mapper/Xq39--vg-root\n')
  const { text, files } = captured(dir)
  expect(text.match(/.*(?:Xq\d|203\.0\.113|example\.org|c0ffee|7100CB).*/g) ?? []).toEqual([])
  expect(files.get('/etc/libvirt/qemu.conf')).toContain('user = "root"')
  expect(files.get('/etc/modprobe.d/mine.conf')).toContain('options vfio-pci ids=10de:1cb6\n')
  expect(files.get('/etc/crypttab')).toContain('tpm2-device=auto')
  expect(files.get('/var/lib/vfio-scripts/0001/entry.json')).toContain('iface br0')
  expect(files.get('/proc/1/fd/4')).toBe('/dev/dri/card0')
  expect(files.get('/proc/cmdline')).toBe('quiet root=/dev/mapper/host-1--vg-root\n')
  expect(files.get('/sys/class/block/dm-0/dm/name')).toBe('host-1--vg-root\n')
  // A peer is in the network that it was in.
  expect(files.get('/proc/net/tcp')).toMatch(/0: 070112C6:0016 080112C6:D431 /)
  expect(files.get('/proc/net/route')).toContain('eth0\t000112C6\t')
})

it('a capture is for its owner alone, and reads back to the same findings', () => {
  const dir = host()
  writeIn(dir, 'proc/cmdline', `quiet ${LINE}\n`)
  expect(apply(dir, '02:00').code).toBe(0)
  const copy = join(scratchDir('secrets'), 'copy')
  const ran = (root: string, ...args: string[]) =>
    runScript('check-host', ['--root', root, '--json', '--device', '02:00', ...args])
  const first = ran(dir, '--capture', copy)
  const findings = (one: typeof first) =>
    answer(one).findings.flatMap(({ code, state }) => (code === 'user-groups' ? [] : `${code} ${state}`))
  expect(findings(ran(copy))).toEqual(findings(first))
  const seen = runProgram('grep', ['-raE', SECRET.source, copy])
  expect([seen.code, seen.stdout]).toEqual([1, ''])
  const open = readdirSync(copy, { recursive: true, encoding: 'utf8' }).filter((name) => {
    const stat = lstatSync(join(copy, name))
    return !stat.isSymbolicLink() && (stat.mode & 0o077) !== 0
  })
  expect([...open, ...((lstatSync(copy).mode & 0o077) === 0 ? [] : ['.'])]).toEqual([])
})
