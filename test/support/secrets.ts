// Systems full of what nobody else may know, and what a capture has of it.
import { Buffer } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { captureTree } from '../../lib/host/capture.ts'
import { openMachine } from '../../lib/host/machine.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { type System, systemDir, writeIn } from './system.ts'

/**
 * Arguments that carry what nobody else may know, by the word that must not be seen. Documented in dracut.cmdline(7),
 * systemd-cryptsetup-generator(8), systemd.system-credentials(7), kernel-command-line(7), Debian's and Ubuntu's
 * installers, Kickstart, cloud-init, NFS and iSCSI roots, Clevis, Arch's encrypt hook, mkinitcpio-netconf, dropbear.
 */
export const ARGUMENTS = [
  'systemd.passwd=Xq1',
  'systemd.set_credential=passwd.hashed-password.root:Xq2',
  'systemd.set_credential_binary=wireguard.key:WHEz',
  'rd.systemd.credential=Xq4',
  'iscsi_password=Xq5-five',
  'rd.iscsi.password=Xq6',
  'rd.iscsi.password_in=Xq7',
  'netroot=iscsi:ann:Xq8@203.0.113.7::3260::iqn.2026-11.org:Xq9',
  'rd.luks.key=/Xq10.key:UUID=Xq11',
  'luks.key=/Xq12',
  'cryptkey=Xq13:0:32',
  'rd.luks.data=Xq14',
  'rd.znet=qeth,0.0.0600,Xq15',
  'root=nfs:203.0.113.9:/srv/Xq16,sec=sys',
  'nfsroot=203.0.113.9:/srv/Xq17',
  'ip=203.0.113.8::203.0.113.1:255.255.255.0:Xq18:eth0:off',
  'nameserver=203.0.113.53',
  'passwd/root-password=Xq19',
  'passwd/user-password-crypted=$6$Xq20',
  'netcfg/wireless_wpa=Xq21',
  'preseed/url=https://ann:Xq22@example.org/preseed',
  'inst.ks=ftp://ann:Xq23@example.org/ks.cfg',
  'inst.vncpassword=Xq24',
  'ds=nocloud;s=https://Xq25.example.org/',
  'proxy=http://ann:Xq26@203.0.113.4:3128',
  'rootpw=Xq27',
  'ssh_key=Xq28',
  'coreos.inst.ignition_url=https://Xq29.example.org',
  'k3s_token=Xq30',
  'TOKEN=Xq31',
  'tang_url=http://Xq32.example.org',
  'hostname=Xq33',
  'rootflags=username=ann,password=Xq34',
  'vendor.module.anything=Xq35',
  'wwn=0x500a0981Xq36',
  'systemd.hostname=Xq37',
  '--api-key=Xq38',
  'zfs.key=Xq39',
  'unknown=Xq40',
]
export const QUOTED = ['iscsi_password="two Xq50"', '"unknown.two=three Xq51"']
export const PLAIN = [
  'intel_iommu=on',
  'vfio-pci.ids=10de:1cb6',
  'isolcpus=2-5',
  'initcall_blacklist=sysfb_init',
  'hugepages=4',
]
export const LINE = [...ARGUMENTS, ...PLAIN].join(' ')
export const SECRET = /Xq[0-9]+|WHEz|203\.0\.113|example\.org/
export const FOUND = new RegExp(`.{0,60}(?:${SECRET.source}).{0,20}`, 'g')

/** Reads everything that there is, as if each script had been asked everything. */
function readAll(reader: Reader, folder: string): void {
  for (const name of reader.list(folder) ?? []) {
    const path = `${folder === '/' ? '' : folder}/${name}`
    if (reader.link(path) !== undefined) continue
    if (reader.size(path) === undefined) readAll(reader, path)
    else reader.bytes(path)
  }
}

/** All of a capture as one text: paths, links, contents. */
export function captured(dir: string): { text: string; files: Map<string, string> } {
  const machine = openMachine({ root: dir, record: true })
  machine.programOutput.set(
    '/var/log/dmesg',
    `[    0.0] Linux version 6.14\n[    0.0] Command line: BOOT_IMAGE=/vmlinuz ${LINE} ${QUOTED.join(' ')}\n[    0.1] Unknown kernel command line parameters "iscsi_password=Xq5-five", will be passed to user space.\n[    1.0] Run /init as init process\n[    1.0]     TOKEN=Xq31\n[    1.1] DMAR: the IOMMU said Xq5-five\n[    2.0] audit: comm="Xq60" name="/home/Xq61/vfio"\n[    3.0] [UFW BLOCK] IN=eth0 SRC=203.0.113.77\n`,
  )
  readAll(machine.reader, '/')
  const files = new Map<string, string>()
  for (const [path, entry] of captureTree(machine))
    files.set(
      path,
      'link' in entry
        ? entry.link
        : 'folder' in entry
          ? entry.folder.join('\n')
          : Buffer.from(entry.file).toString('latin1'),
    )
  return { text: [...files].map(([path, text]) => `${path}\n${text}\n`).join(''), files }
}

export const escaped = (text: string): string => text.replace(/[\\"$`]/g, '\\$&')

/** The same system, whose every command line has the arguments too. */
export function withSecrets(system: System): string {
  const dir = systemDir(system)
  const into = (path: string): void => {
    const text = readFileSync(path, 'latin1')
    // Where it is JSON, a member each; where shell reads it, as shell wants it.
    const more = path.endsWith('/configuration')
      ? ARGUMENTS.concat(PLAIN).map(escaped).join('", "')
      : /default\/|dracut|grub\.cfg/.test(path)
        ? escaped(LINE)
        : LINE
    writeIn(
      '',
      path,
      text.replace(
        /\bquiet\b|(?<=options )root=\S+ rw\b|boot=zfs/g,
        (all) => `${all}${path.endsWith('/configuration') ? '", "' : ' '}${more}`,
      ),
    )
  }
  for (const folder of ['etc', 'boot', 'nix', 'run'])
    for (const name of execFileSync('sh', ['-c', `find ${dir}/${folder} -type f 2>/dev/null || true`], {
      encoding: 'utf8',
    }).split('\n'))
      if (name !== '' && !readFileSync(name, 'latin1').includes('\0')) into(name)
  return dir
}
