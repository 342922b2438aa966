// What mkinitcpio, systemd and OpenRC run to bind by address, run by shells and held against their checkers.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { arch, none } from '../support/generators.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, runProgram } from '../support/run.ts'
import { textOf, writeIn } from '../support/system.ts'
import { apply, dropIn, main, openrc, runs, script, service, systemd, twins, unit, wanted } from '../support/twins.ts'

/** Runs bash on files of a system as mkinitcpio does: with its own functions, which copy into an image. */
const CALLS = `
root=$1 BUILDROOT=$2 _d_hooks=/etc/initcpio/hooks
add_file() { install -D -m "\${3:-644}" "$root$1" "$BUILDROOT\${2:-$1}"; }
add_symlink() { mkdir -p "$BUILDROOT\${1%/*}" && ln -sfn "$2" "$BUILDROOT$1"; }
add_binary() { case $1 in /*) add_file "$1" "$2" 755 ;; *) add_file "/usr/bin/$1" '' 755 ;; esac; }
add_runscript() { add_file "$_d_hooks/\${BASH_SOURCE[1]##*/}" "/hooks/\${BASH_SOURCE[1]##*/}" 755; }
script=mine
. "$root/etc/initcpio/install/vfio-scripts"
build && declare -f help >/dev/null && echo "$script"
`

describe('with mkinitcpio', () => {
  const applied = (): string => {
    const dir = twins(arch, { 'usr/lib/initcpio/busybox': 'busybox', 'usr/bin/kmod': 'kmod' })
    expectRan(apply(dir), 0)
    return dir
  }

  it('the install hook has all that the script needs in the image', () => {
    const [dir, image] = [applied(), scratchDir('image')]
    // mkinitcpio's own variable is as it was.
    expect(runProgram('bash', ['-euc', CALLS, 'bash', dir, image])).toEqual({ code: 0, stdout: 'mine\n', stderr: '' })
    expect(textOf(image, script)).toBe(textOf(dir, script))
    expect(textOf(image, 'hooks/vfio-scripts')).toContain('run_earlyhook')
    expect(textOf(image, unit)).toContain(runs)
    const links = runProgram('find', [image, '-type', 'l', '-printf', '%P %l\n']).stdout.trim().split('\n').sort()
    expect(links).toEqual([
      `etc/systemd/system/sysinit.target.wants/vfio-scripts.service /${unit}`,
      'usr/bin/modprobe kmod',
      'usr/bin/readlink busybox',
      'usr/bin/sh busybox',
    ])
  })

  it.each(['dash', 'busybox'].filter(has))('the runtime hook runs the script (%s)', (shell) => {
    const [dir, image] = [applied(), scratchDir('image')]
    writeIn(image, 'hook', (textOf(dir, 'etc/initcpio/hooks/vfio-scripts') ?? '').replace('/etc', `${image}/etc`))
    writeIn(image, script, '#!/bin/sh\necho "$$"\nexit 3\n')
    const ran = runProgram(shell, [
      ...(shell === 'busybox' ? ['sh'] : []),
      '-c',
      `. ${image}/hook; run_earlyhook; echo "$? $$"`,
    ])
    // In a process of its own: what it sets and how it ends is not the init's.
    expect(ran.stdout).toMatch(/^(\d+)\n3 (?!\1)\d+\n$/)
  })

  it('the hook comes before all others, whatever the configuration says', () => {
    for (const HOOKS of ['(base udev block)', '"systemd sd-vconsole block"', '(udev base)']) {
      const dir = twins(arch, { [main]: `MODULES=()\nHOOKS=${HOOKS}` })
      expectRan(apply(dir), 0)
      const { stdout } = runProgram('bash', [
        '-c',
        // An old string among the words of an array is cut up when they are used.
        `cat "$1" "$2" >"$3"; . "$3"; echo \${HOOKS[@]}`,
        'bash',
        join(dir, main),
        join(dir, dropIn),
        join(dir, 'joined'),
      ])
      expect(stdout).toMatch(/^vfio-scripts (base|systemd|udev) .*modconf\n$/)
    }
  })
})

describe('what is written is clean', () => {
  const dirs = (): string[] => [twins(arch), twins(none, { ...systemd, ...openrc })]

  needs('shellcheck').it('for shellcheck', () => {
    const files = [script, 'etc/initcpio/install/vfio-scripts', 'etc/initcpio/hooks/vfio-scripts', service, wanted]
    for (const dir of dirs()) {
      expectRan(apply(dir), 0)
      for (const file of files.filter((one) => textOf(dir, one) !== null)) {
        const shell = file.includes('/install/') ? 'bash' : 'sh'
        // Variables that others read or set, and the shebang of OpenRC.
        const args = ['--shell', shell, '--exclude', 'SC2034,SC2154,SC1008', join(dir, file)]
        expect(runProgram('shellcheck', args)).toEqual({ code: 0, stdout: '', stderr: '' })
      }
    }
  })

  needs('systemd-analyze').it('for systemd', () => {
    const dir = twins(none, systemd)
    expectRan(apply(dir), 0)
    const ran = runProgram('systemd-analyze', ['verify', '--man=no', join(dir, unit)])
    expect(ran.stderr.split('\n').filter((line) => line.includes('vfio-scripts'))).toEqual([])
  })
})
