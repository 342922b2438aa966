import { Buffer } from 'node:buffer'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { applyRunning, can, image, release, systemThat } from '../support/chroot.ts'
import { type Archived, cpioOf, placed } from '../support/cpio.ts'
import { needs } from '../support/needs.ts'
import { runScript } from '../support/run.ts'

const IDS = 'etc/modprobe.d/00-vfio-scripts.conf'
const module = placed(`usr/lib/modules/${release}/kernel/drivers/vfio/pci/vfio-pci.ko.xz`, Buffer.alloc(100, 1))
const ids = placed(IDS, 'options vfio-pci\n')

/** A system whose generator makes this image; the program that lists it lies. */
function systemWith(files: readonly Archived[]): string {
  const dir = systemThat(`cp /made.img /${image}`)
  writeFileSync(join(dir, 'made.img'), cpioOf(files))
  writeFileSync(join(dir, 'usr/bin/lsinitramfs'), `#!/bin/sh\necho ${IDS}\n`)
  return dir
}

needs('root and a static busybox', can).describe('images are looked into by ourselves', () => {
  const { it } = needs('busybox')

  it('an image that holds all is as planned, and --status of another root says so', () => {
    const dir = systemWith([...module, ...ids])
    expectRan(applyRunning(dir), 0)
    const status = runScript('bind-vfio', ['--root', dir, '--status'])
    expect(status.stdout).toContain(`/${image} holds vfio-pci and its IDs`)
    writeFileSync(join(dir, image), cpioOf(module))
    expect(runScript('bind-vfio', ['--root', dir, '--status']).stdout).toContain(`/${image} lacks /${IDS}`)
  })

  it('one that lacks the file of IDs, or has one of a longer name, is not', () => {
    for (const other of [[], placed(`${IDS}.bak`, 'x'), placed(`usr/${IDS}`, 'x')]) {
      const ran = applyRunning(systemWith([...module, ...other]))
      expect(ran.code).toBe(2)
      expect(ran.stderr).toContain(`/${image} lacks /${IDS}`)
    }
  })

  it('one that ends too early is not: the disk was full, and its generator said nothing', () => {
    const dir = systemWith([])
    writeFileSync(join(dir, 'made.img'), cpioOf([...module, ...ids]).subarray(0, -600))
    writeFileSync(join(dir, 'usr/bin/lsinitramfs'), '#!/bin/sh\nexit 1\n')
    const ran = applyRunning(dir)
    expect(ran.code).toBe(2)
    expect(ran.stderr).toMatch(/initrd\.img-\S+ is damaged: /)
  })

  it('one with another module is not, and the module of that name counts, packed or not', () => {
    const named = (name: string): Archived[] => placed(`lib/modules/${release}/${name}`, 'x')
    for (const name of ['vfio-pci.ko.txt', 'vfio-pci-core.ko', 'my-vfio-pci.ko']) {
      const ran = applyRunning(systemWith([...named(name), ...ids]))
      expect(ran.stderr, name).toContain(`/${image} lacks vfio-pci`)
    }
    for (const name of ['vfio_pci.ko', 'vfio-pci.ko.zst', 'vfio-pci.ko.gz'])
      expectRan(applyRunning(systemWith([...named(name), ...ids])), 0)
  })
})
