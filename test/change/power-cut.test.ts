// A power cut at the moment when a run says that it is done: /boot is a file system of its own in a file, which is
// copied then and read as GRUB reads it, without replaying a journal.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { can, image, systemThat } from '../support/chroot.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, PROJECT, runProgram } from '../support/run.ts'

/** It makes 3 MB, as an initramfs is made: many writes, and a name given at the end. */
const MAKES = `{ echo usr/lib/modules/x/vfio-pci.ko; if [ -e /etc/modprobe.d/00-vfio-scripts.conf ]; then echo etc/modprobe.d/00-vfio-scripts.conf; fi; i=0; while [ $i -lt 3000 ]; do printf '%01000d\\n' $i; i=$((i+1)); done; } >/${image}.new; busybox mv /${image}.new /${image}`

/** Runs bash in a mount namespace of its own, where this image is mounted as the system's /boot. */
function withBoot(dir: string, disk: string, script: string): { code: number | null; output: string } {
  const all = `set -eu; mount -o loop "$DISK" "$ROOT/boot"; trap 'umount "$ROOT/boot"' EXIT; ${script}`
  const { status, stdout, stderr } = spawnSync('unshare', ['-m', '--propagation', 'private', 'bash', '-c', all], {
    encoding: 'utf8',
    env: {
      ...process.env,
      DISK: disk,
      ROOT: dir,
      BIND: `${process.execPath} ${PROJECT}scripts/bind-vfio.mjs --root ${dir}`,
    },
  })
  return { code: status, output: stdout + stderr }
}

function diskOf(type: string, dir: string): string {
  const disk = join(scratchDir('disk'), 'disk')
  writeFileSync(disk, '')
  expect(runProgram('truncate', ['-s', '64M', disk]).code).toBe(0)
  expect(runProgram(`mkfs.${type}`, ['-q', '-d', join(dir, 'boot'), disk]).code).toBe(0)
  return disk
}

const mounts =
  can &&
  ['unshare', 'mkfs.ext4', 'grub-fstest'].every(has) &&
  runProgram('unshare', [
    '-m',
    'sh',
    '-c',
    'truncate -s 8M /tmp/.vfio-scripts-probe.$$ && mkfs.ext2 -q /tmp/.vfio-scripts-probe.$$ && mount -o loop /tmp/.vfio-scripts-probe.$$ /mnt; code=$?; rm -f /tmp/.vfio-scripts-probe.$$; exit $code',
  ]).code === 0

needs('root, loop devices and grub-fstest', mounts).describe.each(['ext2', 'ext4'])(
  'with /boot on %s, a power cut after',
  (type) => {
    /** Would GRUB load this file's text from the disk as it was at that moment? */
    const boots = (disk: string, file: string): boolean =>
      runProgram('sh', [
        '-c',
        'grub-fstest "$1" cat "$2" | cmp -s - "$3"',
        'sh',
        ...[disk, `/${image.replace('boot/', '')}`, file],
      ]).code === 0

    it('an apply finds the whole new image, and after an undo the one of the undo', () => {
      const dir = systemThat(MAKES)
      const disk = diskOf(type, dir)
      const folder = scratchDir('cut')
      const [cut, made] = [join(folder, 'disk'), join(folder, 'image')]
      for (const [args, held] of [
        ['02:00 --apply', true],
        ['--undo --apply', false],
      ] as const) {
        const ran = withBoot(dir, disk, `$BIND ${args} >/dev/null; cp "$DISK" ${cut}; cp "$ROOT/${image}" ${made}`)
        expect(ran.code, ran.output).toBe(0)
        const text = readFileSync(made, 'latin1')
        expect(text.length).toBeGreaterThan(3e6)
        expect(text.slice(0, 200).includes('00-vfio-scripts.conf')).toBe(held)
        expect(boots(cut, made)).toBe(true)
      }
    })

    it('a run that failed and put everything back finds the old image', () => {
      const dir = systemThat(`${MAKES}; exit 3`)
      mkdirSync(join(dir, 'boot'), { recursive: true })
      writeFileSync(join(dir, image), 'old\n'.repeat(1e6))
      const disk = diskOf(type, dir)
      const folder = scratchDir('cut')
      const [cut, old] = [join(folder, 'disk'), join(folder, 'image')]
      copyFileSync(join(dir, image), old)
      const ran = withBoot(dir, disk, `! $BIND 02:00 --apply >/dev/null || exit 9; cp "$DISK" ${cut}`)
      expect(ran.output).toContain('nothing is changed')
      expect(ran.code).toBe(0)
      expect(boots(cut, old)).toBe(true)
    })
  },
)
