// scripts/setup.md and virsh, of which a stand-in writes down what it is called with.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { newFolder } from '../support/expect.ts'
import { oneDomain, readmeSystem } from '../support/readme.ts'
import { type Ran, runScript } from '../support/run.ts'
import { callsIn, copyCounted, copyPage, setupAt } from '../support/runbook.ts'

const ready = oneDomain(readmeSystem())

describe.concurrent('the runbook', () => {
  it('gives virsh the guest that it shows, of one call', async () => {
    const folder = newFolder()
    const virsh = `#!/bin/sh\n[ "$1" != define ] || cat "$2" >>${folder}/defined\n`
    writeFileSync(join(folder, 'virsh'), virsh, { mode: 0o755 })
    const log = join(folder, 'calls')
    const args = ['--gpu', '02:00', '--name', 'vm', '--guest', 'linux', '--memory', '1G']
    const env = { PATH: `${folder}:${process.env.PATH}` }
    const ran = await setupAt(copyCounted(log, ready), env, '--step', 'gen-domain', ...args, '--apply')
    expectRan(ran, 0, /^\$ gen-domain --name=vm .* \| virsh define \/dev\/stdin$/m)
    expect(callsIn(log)).toEqual(['gen-domain.mjs --help', 'gen-domain.mjs --name=vm'])
    const { stdout } = runScript('gen-domain', [...args, '--root', ready])
    expect(stdout).toMatch(/<hostdev/)
    expect(ran.stdout).toContain(stdout)
    expect(readFileSync(join(folder, 'defined'), 'utf8').trim()).toBe(stdout.trim())
  })

  it('starts the guest with its network, and says what virsh says when it cannot', async () => {
    const folder = newFolder()
    const virsh = `#!/bin/sh
[ "$1" != -q ] || shift
case "$*" in
  'domstate it'\\''s $(a) "vm"') [ ! -e ${folder}/started ] || echo running ;;
  'net-info lan') echo 'Active:         no' ;;
  start*) [ -e ${folder}/ready ] || { echo 'error: no room' >&2; exit 1; }; echo "$*" >>${folder}/started ;;
  *) echo "$*" >>${folder}/ready ;;
esac
`
    writeFileSync(join(folder, 'virsh'), virsh, { mode: 0o755 })
    const start = (...args: string[]): Promise<Ran> =>
      setupAt(
        copyPage(),
        { PATH: `${folder}:${process.env.PATH}` },
        '--step',
        'start',
        '--name',
        `it's $(a) "vm"`,
        '--apply',
        ...args,
      )
    expectRan(await start('--network', 'none'), 2, /^setup: error: no room$/m)
    expectRan(await start('--network', 'network:lan', '--pci', '02:00'), 0, /vm" runs, and owns 02:00$/m)
    expect(readFileSync(join(folder, 'ready'), 'utf8')).toBe('net-start lan\n')
    expect(readFileSync(join(folder, 'started'), 'utf8')).toBe(`start it's $(a) "vm"\n`)
    expectRan(await start(), 0, /vm" runs\.$/m)
  })

  it('starts nothing more after Ctrl-C while virsh runs', async () => {
    const folder = newFolder()
    const virsh = `#!/bin/sh
[ "$1" != -q ] || shift
echo "$1" >>${folder}/calls
[ "$1" != net-info ] || echo 'Active:         no'
[ "$1" = net-start ] || exit 0
page=$PPID
until tr '\\0' ' ' </proc/$page/cmdline | grep -q setup.md; do page=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$page/status); done
kill -INT $page
`
    writeFileSync(join(folder, 'virsh'), virsh, { mode: 0o755 })
    const args = ['--step', 'start', '--name', 'vm', '--network', 'network:lan', '--apply']
    const ran = await setupAt(copyPage(), { PATH: `${folder}:${process.env.PATH}` }, ...args)
    expectRan(ran, 2, /^setup: interrupted; nothing after this was done$/m)
    expect(readFileSync(join(folder, 'calls'), 'utf8')).toBe('domstate\nnet-info\nnet-start\n')
  })

  it('keeps the guest that it takes from libvirt under a name that is free', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'virsh'), '#!/bin/sh\necho shut off\n', { mode: 0o755 })
    const page = copyPage()
    const env = { PATH: `${folder}:${process.env.PATH}` }
    const name = join(folder, 'vm')
    const kept = async (): Promise<string | undefined> =>
      / > (.*)$/m.exec((await setupAt(page, env, '--name', name, '--undo')).stdout)?.[1]
    expect(await kept()).toBe(`${name}.xml`)
    writeFileSync(`${name}.xml`, 'my own')
    writeFileSync(`${name}-2.xml`, '')
    expect(await kept()).toBe(`${name}-3.xml`)
    expect(readFileSync(`${name}.xml`, 'utf8')).toBe('my own')
  })
})
