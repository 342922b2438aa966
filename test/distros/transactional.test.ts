import { expect, it } from 'vitest'
import { apply, card, expectRan } from '../support/bind.ts'
import type { Files } from '../support/loaders.ts'
import { snapshotOf, systemDir } from '../support/system.ts'

const suse = (fstab: string, more: Files = {}): string =>
  systemDir({
    machine: 'i9-14900k-vmd',
    family: 'opensuse',
    iommuByDefault: false,
    files: { 'usr/sbin/transactional-update': '#!/bin/bash\n', 'etc/fstab': `${fstab}\n`, ...more },
  })

it('MicroOS, whose /boot is in a read-only snapshot: the steps by which a new snapshot has all of it', () => {
  const dir = suse('UUID=1 / btrfs ro 0 0')
  const before = snapshotOf(dir)
  const ran = apply(dir, card)
  expectRan(ran, 2, /grub \(.*in a snapshot of transactional-update\) is set up by hand/)
  expect(ran.stderr).toMatch(/dracut \(.*, which transactional-update runs for a new snapshot\) is set up by hand/)
  expect(ran.stderr).toMatch(
    /force_drivers\+=[\s\S]*transactional-update initrd .*\n[\s\S]*transactional-update --continue grub\.cfg/,
  )
  expect(snapshotOf(dir)).toBe(before)
})

it.each([
  ['the root is written to', 'UUID=1 / btrfs defaults 0 0'],
  ['/boot is a file system of its own', 'UUID=1 / btrfs ro 0 0\nUUID=2 /boot ext4 noauto 0 0'],
])('no such steps where %s', (_, fstab) => expectRan(apply(suse(fstab), card), 0, /dracut --force/))
