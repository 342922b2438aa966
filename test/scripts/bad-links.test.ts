// Links that lead out of the root or in circles, and things in a tree that are no files.
import { execFileSync, spawn } from 'node:child_process'
import {
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { addressesIn, brokenMachine, GPU, GPU_PATH, linkGroup, listing, whole } from '../support/broken.ts'
import { expectError, expectNoTrace, newFolder, SCRIPTS } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { type Ran, runProgram, runScript } from '../support/run.ts'

const SECRET = 'xyzzy'
/** Whatever file it stands for, the word would show. */
const SECRET_TEXT = `${SECRET}
PCI_CLASS=30000
PCI_ID=10DE:1CB6
DRIVER=${SECRET}
10de  ${SECRET}
alias pci:v000010DEd*sv*sd*bc03sc*i* ${SECRET}
`
const PLACES = [
  `${GPU_PATH}/uevent`,
  `${GPU_PATH}/revision`,
  `${GPU_PATH}/reset_method`,
  `${GPU_PATH}/power_state`,
  '/sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/product',
  '/sys/kernel/iommu_groups/14/type',
  '/lib/modules/6.14.7-zen1/modules.alias',
  '/usr/share/misc/pci.ids',
]

/** Everything below a folder: paths, what links say, what files hold. */
function everythingIn(folder: string): string {
  return readdirSync(folder, { withFileTypes: true })
    .map((entry) => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return path + everythingIn(path)
      return path + (entry.isSymbolicLink() ? readlinkSync(path) : readFileSync(path, 'latin1'))
    })
    .join('\n')
}

/** All that the scripts tell about a machine, in every format. */
function everythingSaid(dir: string): string {
  const said: Ran[] = []
  for (const format of ['table', 'lspci', 'tree', 'svg'])
    said.push(runScript('list-iommu', ['--root', dir, '--format', format]))
  said.push(runScript('list-iommu', ['--root', dir, '--json', '--usb-ports']))
  said.push(runScript('check-reset', ['--root', dir, '--json']))
  const capture = join(newFolder(), 'capture')
  const captured = runScript('list-iommu', ['--root', dir, '--json', '--usb-ports', '--capture', capture])
  said.push(captured)
  for (const ran of said) expectNoTrace(ran)
  return JSON.stringify(said) + (captured.code === 2 ? '' : everythingIn(capture))
}

describe('a link out of the root', () => {
  const outside = newFolder()
  writeFileSync(join(outside, 'word'), SECRET_TEXT)

  /** A machine with a link to the outside in place of a file. */
  const linked = (place: string, link: (dir: string) => string): string =>
    brokenMachine((dir) => {
      rmSync(dir + place)
      symlinkSync(link(dir), dir + place)
    })

  it.each(PLACES)('in place of %s shows nothing of the file outside', (place) => {
    expect(everythingSaid(linked(place, () => join(outside, 'word')))).not.toContain(SECRET)
    expect(everythingSaid(linked(place, () => `${'../'.repeat(40)}${outside}/word`))).not.toContain(SECRET)
    expect(everythingSaid(linked(place, (dir) => relative(dirname(dir + place), join(outside, 'word'))))).not.toContain(
      SECRET,
    )
    // The same link to the same file inside: now the word shows, so it would have above.
    const inside = linked(place, () => '/word')
    writeFileSync(join(inside, 'word'), SECRET_TEXT)
    expect(everythingSaid(inside)).toContain(SECRET)
  })

  it('in place of a device shows nothing of the folder outside', () => {
    const device = '/sys/bus/pci/devices/0000:02:00.0'
    writeFileSync(join(outside, 'uevent'), SECRET_TEXT)
    for (const target of [outside, `${'../'.repeat(40)}${outside}`]) {
      const dir = linked(device, () => target)
      expect(everythingSaid(dir)).not.toContain(SECRET)
      const ran = listing('list-iommu', dir)
      expect(ran.stderr).toBe(`list-iommu: ${GPU} vanished while it was being read\n`)
    }
    const inside = linked(device, () => '/elsewhere')
    cpSync(outside, join(inside, 'elsewhere'), { recursive: true })
    expect(everythingSaid(inside)).toContain(SECRET)
  })

  it('in place of /sys itself is no way out', () => {
    const dir = newFolder()
    symlinkSync(
      join(
        brokenMachine(() => {}),
        'sys',
      ),
      join(dir, 'sys'),
    )
    expectError(runScript('list-iommu', ['--root', dir]), 'no sysfs here')
  })
})

describe.each(SCRIPTS)('%s: links', (script) => {
  it('that are absolute mean below the root', () => {
    const dir = brokenMachine((at) => {
      rmSync(`${at}/sys/bus/pci/devices/${GPU}`)
      symlinkSync(GPU_PATH, `${at}/sys/bus/pci/devices/${GPU}`)
    })
    expect(listing(script, dir)).toEqual(whole[script])
  })

  it.each([
    `/sys/bus/pci/devices/${GPU}`,
    `${GPU_PATH}/uevent`,
    `${GPU_PATH}/physfn`,
    '/sys/bus/pci/devices',
    '/sys/kernel/iommu_groups',
  ])('in a circle: %s', (path) => {
    const dir = brokenMachine((at) => {
      rmSync(at + path, { recursive: true, force: true })
      symlinkSync(`${path}.next`, at + path)
      symlinkSync(path.slice(path.lastIndexOf('/') + 1), `${at}${path}.next`)
    })
    expectError(runScript(script, ['--machine', dir]), path, 'ELOOP')
  })

  it('in a circle: iommu_group', () => {
    const dir = brokenMachine((at) => linkGroup(at, 'iommu_group'))
    expectError(runScript(script, ['--machine', dir]), `${GPU_PATH}/iommu_group`)
  })
})

/** /dev/zero under another name. */
function zero(path: string): void {
  execFileSync('mknod', [path, 'c', '1', '5'], { stdio: 'ignore' })
}

function devicesWork(): boolean {
  try {
    const path = join(newFolder(), 'zero')
    zero(path)
    closeSync(openSync(path, 'r'))
    return true
  } catch {
    return false
  }
}

describe.each(SCRIPTS)('%s: no files', (script) => {
  const replaced = (path: string, by: (at: string) => void): string =>
    brokenMachine((dir) => {
      rmSync(dir + path)
      by(dir + path)
    })
  const fifo = (path: string): void => {
    execFileSync('mkfifo', [path])
  }

  it('a FIFO that nobody writes to keeps nobody waiting', () => {
    expect(listing(script, replaced(`${GPU_PATH}/uevent`, fifo))).toEqual(whole[script])
    const ran = runScript(script, ['--machine', replaced(`${GPU_PATH}/revision`, fifo), '--json'])
    expectError({ ...ran, stdout: '' }, `${GPU_PATH}/revision`)
    expectError(
      runScript(script, ['--root', replaced('/usr/share/misc/pci.ids', fifo)]),
      '/usr/share/misc/pci.ids',
      'not a file',
    )
  })

  it('a FIFO whose writer writes nothing keeps nobody waiting', () => {
    const dir = replaced(`${GPU_PATH}/uevent`, fifo)
    // Opened for both, an end of a FIFO waits for no other.
    const holder = spawn('sh', ['-c', `exec 3<>"$1"; kill -STOP $$`, 'sh', `${dir}${GPU_PATH}/uevent`], {
      stdio: 'ignore',
    })
    try {
      const opened = `until [ "$(readlink /proc/${holder.pid}/fd/3)" = "$1" ]; do sleep 0.02; done`
      expect(runProgram('sh', ['-c', opened, 'sh', `${dir}${GPU_PATH}/uevent`]).code).toBe(0)
      expectError(runScript(script, ['--machine', dir]), `${GPU_PATH}/uevent`, 'EAGAIN')
    } finally {
      holder.kill('SIGKILL')
    }
  })

  needs('root who may make devices', devicesWork()).it('a character device without end', () => {
    expectError(runScript(script, ['--machine', replaced(`${GPU_PATH}/uevent`, zero)]), `${GPU_PATH}/uevent`, 'EFBIG')
    expectError(runScript(script, ['--root', replaced('/usr/share/misc/pci.ids', zero)]), 'pci.ids', 'not a file')
  })

  it('100 MB', () => {
    const huge = (path: string): void => {
      writeFileSync(path, '')
      truncateSync(path, 100_000_000)
    }
    for (const path of [
      `${GPU_PATH}/uevent`,
      `${GPU_PATH}/reset_method`,
      '/usr/share/misc/pci.ids',
      '/lib/modules/6.14.7-zen1/modules.alias',
    ])
      expectError(runScript(script, ['--root', replaced(path, huge)]), path, 'EFBIG')
    // Of these only the beginning is asked for.
    expect(addressesIn(listing(script, replaced(`${GPU_PATH}/config`, huge)))).toEqual(addressesIn(whole[script]))
  })

  it('a file in place of a folder', () => {
    const dir = brokenMachine((at) => {
      rmSync(`${at}/sys/kernel/iommu_groups`, { recursive: true })
      writeFileSync(`${at}/sys/kernel/iommu_groups`, '')
    })
    // The devices' own links still name their groups.
    expect(addressesIn(listing(script, dir))).toEqual(addressesIn(whole[script]))
  })
})
