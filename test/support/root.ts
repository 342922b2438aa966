// Small roots for adapters: a few files and nothing else.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { readKernels } from '../../lib/host/installed-kernels.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import type { Host } from '../../lib/system/system.ts'
import { scratchDir } from './machine.ts'

/** What a Debian has of GRUB. */
export const debianGrub = {
  '/usr/sbin/grub-mkconfig': 'for x in /etc/default/grub.d/*.cfg',
  '/usr/sbin/update-grub': '',
  '/etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
  '/boot/grub/grub.cfg': '',
}

/** A root with these files; a value that starts with `->` is a link. */
export function hostWith(files: Record<string, string>, running = true): Host & { root: string } {
  const root = scratchDir('root')
  for (const [path, text] of Object.entries({ '/sys/kernel/x': '', ...files })) {
    mkdirSync(dirname(root + path), { recursive: true })
    if (text.startsWith('->')) symlinkSync(text.slice(2), root + path)
    else writeFileSync(root + path, text, 'latin1')
  }
  const reader = openReader(root)
  return { root, files: reader, machine: reader, running, kernels: readKernels(reader) }
}
