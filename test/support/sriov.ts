import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { host } from './tune.ts'

// The server whose X710 has four virtual functions of 64.

/** Its first physical function. */
export const NIC = 'sys/bus/pci/devices/0000:3b:00.0'
/** The program that makes virtual functions, for the unit of tune-host. */
export const VF_PROGRAM = 'etc/vfio-scripts/virtual-functions'

/** The address of an interface that is IP over InfiniBand. */
export const INFINIBAND = `80:00:00:28:fe:80${':00'.repeat(14)}\n`

/** The server, which knows offset and stride of its card, and whose interface ens1 is on. */
export function sriovServer(files: Record<string, string> = {}): string {
  const dir = host(
    {
      'usr/sbin/ip': '',
      'usr/bin/systemctl': '',
      [`${NIC}/net/ens1/address`]: '3c:fd:fe:00:00:01\n',
      [`${NIC}/net/ens1/flags`]: '0x1003\n',
      ...files,
    },
    { machine: 'sriov-nic' },
  )
  writeFileSync(join(dir, NIC, 'sriov_offset'), '16\n')
  writeFileSync(join(dir, NIC, 'sriov_stride'), '1\n')
  mkdirSync(join(dir, 'sys/class/net'), { recursive: true })
  return dir
}

/** What the program is told of cards. */
export function vfLines(dir: string): string {
  const path = join(dir, VF_PROGRAM)
  return (existsSync(path) ? readFileSync(path, 'utf8') : '')
    .split('\n')
    .filter((line) => line.startsWith('#= '))
    .join('\n')
}

/** Gives the card another driver, or none. */
export function retie(dir: string, driver: string | null): void {
  rmSync(join(dir, NIC, 'driver'))
  if (driver !== null) symlinkSync(`../../../../bus/pci/drivers/${driver}`, join(dir, NIC, 'driver'))
  const uevent = readFileSync(join(dir, NIC, 'uevent'), 'utf8')
  writeFileSync(join(dir, NIC, 'uevent'), uevent.replace(/^DRIVER=.*\n/, driver === null ? '' : `DRIVER=${driver}\n`))
}
