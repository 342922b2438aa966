// Fake machines for the tests: small data files under test/machines become trees that look like a real /sys and /proc.
//   machineDir('x570-navi10')            a tree of that machine, made once per process, removed at its end
//   writeMachine(generateMachine(512), dir)

import { spawn } from 'node:child_process'
import { accessSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeMachine } from './fake/write.ts'
import { BUNDLES } from './run.ts'

export { generateMachine } from './fake/generate.ts'
export { writeMachine }

/** A PCI device. What is left out takes the value in brackets. */
export interface FakeDevice {
  /** six hex digits: base class, subclass, programming interface */
  class: string
  /** `vvvv:dddd` */
  id: string
  /** `vvvv:dddd` [0000:0000] */
  subsystem?: string
  /** two hex digits [00] */
  revision?: string
  driver?: string
  /** IOMMU group [none] */
  group?: number
  /** address of the bridge above, or of the Intel VMD controller that carries this domain [a root bus] */
  under?: string
  /** two hex digits: the bus behind a bridge that nothing sits below [a free number] */
  bus?: string
  /** [false; the file exists for class 0300 alone, as in the kernel] */
  bootVga?: boolean
  numa?: number
  /** text of `reset_method` ("flr bus", "" for none left), true: a kernel before 5.15, `reset` alone [neither] */
  reset?: string | true
  /** [D0, on kernels that have the file] */
  powerState?: string
  /** [true for PCI Express] */
  d3cold?: boolean
  /** capability in config space [absent] */
  msi?: 'on' | 'off'
  msix?: 'on' | 'off'
  /** PCI Express capability [ports, what sits below them, and root devices that have `flr`] */
  pcie?: boolean
  /** it does not answer: its configuration space reads ff */
  silent?: true
  /** this is a virtual function of that device */
  physfn?: string
  /** SR-IOV capable: how many virtual functions it could have */
  totalVfs?: number
  /** more files in the device's folder */
  files?: Record<string, string>
}

/** A USB device, keyed by its name in sysfs: `usb1` (a root hub), `1-2`, `1-2.4`. */
export interface FakeUsb {
  /** root hubs only: address of the controller */
  under?: string
  /** `vvvv:pppp` [root hubs: 1d6b:0002] */
  id?: string
  manufacturer?: string
  product?: string
  serial?: string
  /** Mbit/s [480] */
  speed?: string
  /** [counted along the bus] */
  devnum?: number
  /** drivers of its interfaces [hubs: hub] */
  interfaces?: string[]
}

export interface FakeMdev {
  /** the PCI device it is a slice of */
  under: string
  group?: number
  /** as in mdev_supported_types */
  type: string
  name?: string
}

export interface Machine {
  /** what machine this is and which facts it was made from */
  about: string
  /** `uname -r` */
  kernel: string
  cmdline: string
  cpu: { vendor: string; model: string; flags: string[]; threads?: number }
  /** tables in /sys/firmware/acpi/tables */
  acpi: string[]
  /** files of /sys/class/dmi/id: sys_vendor, product_name, … */
  dmi: Record<string, string>
  /** the IOMMU that is switched on [none] */
  iommu?: 'intel' | 'amd'
  /** text of each group's `type` [no file, as before Linux 4.20] */
  groupType?: string
  /** groups that differ from it */
  groupTypes?: Record<string, string>
  /** groups that have a `name` */
  groupNames?: Record<string, string>
  /** lines of a group's `reserved_regions` beside the one for interrupts: `0x… 0x… direct` */
  reserved?: Record<string, string[]>
  /** lines of the kernel log, in /var/log/dmesg as a capture has it [a line of it]; null: none was captured */
  log?: string[] | null
  devices: Record<string, FakeDevice>
  /** mediated devices by UUID */
  mdevs?: Record<string, FakeMdev>
  usb?: Record<string, FakeUsb>
  /** module name: the aliases it claims, without `alias ` */
  modules?: Record<string, string[]>
  /** bytes of config space to be seen: 64 is what a reader without root gets [256] */
  configBytes?: number
  /** more files and symbolic links, by path from the root, written last */
  files?: Record<string, string | Uint8Array>
  links?: Record<string, string>
}

const dataFolder = join(process.cwd(), 'test/machines')
let scratch: string | undefined
const made = new Map<string, string>()

/** The data of test/machines/NAME.json. */
export function loadMachine(name: string): Machine {
  return JSON.parse(readFileSync(join(dataFolder, `${name}.json`), 'utf8')) as Machine
}

/** The names that loadMachine knows. */
export function machineNames(): string[] {
  const files = readdirSync(dataFolder).filter((file) => file.endsWith('.json'))
  return files.map((file) => file.slice(0, -'.json'.length)).sort()
}

/**
 * A new folder, removed when this process ends: in memory, as sysfs is, where there is room for 20,000 devices. In a test
 * run it is in the run's own folder, which goes in any case.
 */
export function scratchDir(name: string): string {
  if (scratch === undefined) {
    const inRun = process.env[BUNDLES] !== undefined
    // Short: the sockets that programs make in it have 108 bytes for all of their path.
    scratch = mkdtempSync(inRun ? join(tmpdir(), 's-') : join(roomInMemory() ? '/dev/shm' : tmpdir(), 'vfio-scripts-'))
    removeAtEnd(scratch)
  }
  return mkdtempSync(join(scratch, `${name}-`))
}

function roomInMemory(): boolean {
  try {
    const { bavail, bsize, ffree } = statfsSync('/dev/shm')
    accessSync('/dev/shm', constants.W_OK)
    return bavail * bsize > 2 ** 32 && ffree > 500_000
  } catch {
    return false
  }
}

function removeAtEnd(folder: string): void {
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  // A signal runs no exit handler. vitest ends its workers with one, and half a second later with another that cannot
  // be caught: a process of its own does the work.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      spawn('rm', ['-rf', folder], { detached: true, stdio: 'ignore' }).unref()
      process.kill(process.pid, signal)
    })
  }
}

/** A tree of that machine, made once per process: read it, do not change it. */
export function machineDir(name: string): string {
  const known = made.get(name)
  if (known !== undefined) return known
  const dir = scratchDir(`machine-${name}`)
  writeMachine(loadMachine(name), dir)
  made.set(name, dir)
  return dir
}
