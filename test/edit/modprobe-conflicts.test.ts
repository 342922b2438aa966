import { mkdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseModprobe } from '../../lib/edit/modprobe.ts'
import {
  findDeadIds,
  findIds,
  findModprobeConflicts,
  findStrayIds,
  softdepFor,
} from '../../lib/edit/modprobe-conflicts.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { runProgram } from '../support/run.ts'

const read = (...texts: string[]) => parseModprobe(texts.map((text, index) => ({ path: `/${index}.conf`, text })))

/** Sorts behind /0.conf, so what that says counts. */
const ours = '00-vfio-scripts.conf'

describe('problems', () => {
  it('of lists of IDs name the file and the line', () => {
    const directives = read(
      '# guide\n\noptions vfio-pci ids=10de:1f08, 10de:10f9 disable_vga=1\n',
      'options x y\noptions vfio_pci ids=10de:icb6,10DE:1cb6:1028:0000:030000:ffffff\noptions vfio-pci ids="1:2, 3:4" x\n',
    )
    expect(findIds(directives, 'vfio-pci')).toEqual([
      {
        ...{ file: '/0.conf', line: 3, ids: ['10de:1f08'] },
        problems: [
          '10de:10f9 is lost: there must be no space in the list',
          'has no effect: the last ids= wins, and that is /1.conf, line 3',
        ],
      },
      {
        ...{ file: '/1.conf', line: 2, ids: ['10de:icb6', '10DE:1cb6:1028:0000:030000:ffffff'] },
        problems: [
          '10de:icb6 is no ID: vendor:device in hexadecimal digits, such as 10de:1cb6',
          'has no effect: the last ids= wins, and that is /1.conf, line 3',
        ],
      },
      { file: '/1.conf', line: 3, ids: ['1:2', '3:4'], problems: [] },
    ])
    expect(findIds(read('options vfio-pci ids=1:2 ,3:4\n'), 'vfio-pci')[0]?.problems.length).toBe(1)
    expect(findIds(read('options vfio-pci ids=10de:1cb6 10de:0fb9\n'), 'vfio-pci')[0]?.problems).toEqual([
      '10de:0fb9 is lost: there must be no space in the list',
    ])
  })

  it.each([
    ['option vfio-pci ids=10de:1cb6', true],
    ['Options vfio-pci ids=10de:1cb6', true],
    ['vfio-pci ids=10de:1cb6', true],
    ['options vfio-pci,ids=10de:1cb6', true],
    ['options vfio-pci: ids=10de:1cb6', true],
    ['options vfio-pci.ids=10de:1cb6', true],
    ['options vfio ids=10de:1cb6', true],
    ['options vfiopci ids=10de:1cb6', true],
    ['options vfio_pci ids=10de:1cb6 # mine', false],
    ['# options vfio ids=10de:1cb6', false],
    ['options vfio-pci \\\nids=10de:1cb6', false],
    ['install vfio-pci modprobe -i vfio-pci ids=10de:1cb6', false],
    ['options nvidia NVreg_X=10de:1cb6', false],
  ])('%j gives no module IDs, though it looks so: %s', (text, dead) => {
    expect(findDeadIds([{ path: '/1.conf', text: `options kvm x=1\n${text}\n` }]).map(({ line }) => line)).toEqual(
      dead ? [2] : [],
    )
  })

  it.each<[string, string[]]>([
    ['vfio-pci.ids=10de:1cb6', ['vfio-pci.ids=10de:1cb6 is no option of vfio-pci, which gets no IDs']],
    ['"vfio_pci.ids=1:2, 3:4" disable_vga=1', ['"vfio_pci.ids=1:2, 3:4" is no option of vfio-pci, which gets no IDs']],
    ['id=10de:1cb6', ['id=10de:1cb6 is no option of vfio-pci, which gets no IDs']],
    ['10de:1cb6', ['10de:1cb6 is no option of vfio-pci, which gets no IDs']],
    [
      'ids = 10de:1cb6',
      ['ids keeps vfio-pci from being loaded', '10de:1cb6 is no option of vfio-pci, which gets no IDs'],
    ],
    ['ids=10de:1f08, 10de:10f9 disable_vga=1', []],
    ['ids="10de:1f08,10de:10f9" disable_idle_d3 nointxmask=y', []],
  ])('of the options %j are IDs that are not in ids=', (options, what) => {
    const found = findStrayIds(read(`options vfio_pci ${options}\noptions kvm 1:2\n`), 'vfio-pci')
    expect(found.map((one) => one.what.replace(/: write .*/, ''))).toEqual(what)
  })

  it.each([
    ['softdep vfio-pci pre: nouveau', 'softdep vfio_pci pre: nouveau: loading vfio-pci loads nouveau first'],
    ['softdep nouveau post: vfio-pci', 'softdep nouveau post: vfio-pci: vfio-pci comes after nouveau'],
    [
      'softdep snd-hda-* pre: x\nsoftdep snd_hda_intel pre: vfio_pci',
      'softdep snd_hda_* pre: x: only the first softdep of snd_hda_intel counts, and this one has no pre: vfio-pci',
    ],
    [
      'softdep nouveau pre:vfio-pci',
      'softdep nouveau pre:vfio-pci: only the first softdep of nouveau counts, and this one has no pre: vfio-pci',
    ],
    [
      'softdep nouveau\t\tpre: vfio-pci',
      'softdep nouveau pre: vfio-pci: only the first softdep of nouveau counts, and this one is not understood, for it has two blanks before pre:',
    ],
    ['install vfio-pci /bin/false', 'install vfio_pci /bin/false: vfio-pci is never loaded'],
    ['install vfio* /bin/true', 'install vfio* /bin/true: vfio-pci is never loaded'],
    ['alias vfio-pci off', 'alias vfio_pci off: off is loaded in its place'],
    ['options vfio-pci ids=1:2\noptions vfio-pci ids=', 'options vfio_pci ids=: the last ids= wins, and it is empty'],
  ])('%j speaks against the binding', (text, what) => {
    const found = findModprobeConflicts(read(`#\n${text}\n`), {
      module: 'vfio-pci',
      before: ['nouveau', 'snd_hda_intel'],
      ours,
    })
    const line = what.includes('empty') ? 3 : 2
    expect(found).toEqual([{ file: '/0.conf', line, what }])
  })

  it.each([
    'softdep nouveau pre: vfio-pci\nsoftdep nouveau pre: x',
    'softdep vfio-pci pre: vfio\nsoftdep amdgpu pre: x',
    'softdep nouveau   pre:  vfio-pci',
    'blacklist vfio-pci\nblacklist nouveau\ninstall nouveau /bin/false',
    'install vfio-pci /sbin/override.sh; /sbin/modprobe --ignore-install vfio-pci',
    'options vfio-pci ids=\noptions vfio-pci ids=1:2',
    'options vfio-pci ids=1:2 disable_vga=1 disable_denylist=1',
    'alias pci:v* vfio-pci',
  ])('%j does not', (text) => {
    expect(findModprobeConflicts(read(text), { module: 'vfio-pci', before: ['nouveau'], ours })).toEqual([])
  })

  it('of a softdep are solved by one that keeps the first', () => {
    const first = 'softdep nouveau pre: mxm-wmi vfio_pci post: x\nsoftdep nouveau pre: y\n'
    expect(softdepFor(read(first), 'nouveau', 'vfio-pci')).toBe('softdep nouveau pre: vfio-pci mxm-wmi post: x')
    expect(softdepFor(read(), 'nouveau', 'vfio-pci')).toBe('softdep nouveau pre: vfio-pci')
  })
})

describe('the real modprobe', () => {
  needs('modprobe').it('takes one softdep of a module only, and that of modules.softdep in its place', () => {
    const root = scratchDir('root')
    const folder = `${root}/lib/modules/6.1.0`
    mkdirSync(folder, { recursive: true })
    for (const name of ['r8169', 'realtek', 'vfio-pci']) writeFileSync(`${folder}/${name}.ko`, '')
    writeFileSync(`${folder}/modules.dep`, 'r8169.ko:\nrealtek.ko:\nvfio-pci.ko:\n')
    writeFileSync(`${folder}/modules.softdep`, 'softdep r8169 pre: realtek\n')
    const loads = (name: string, text: string): string[] => {
      const config = scratchDir('modprobe.d')
      writeFileSync(`${config}/${name}`, text)
      const { stdout } = runProgram('modprobe', ['-d', root, '-S', '6.1.0', '-C', config, '--show-depends', 'r8169'])
      return [...stdout.matchAll(/([\w-]+)\.ko/g)].map(([, module]) => module ?? '')
    }
    // depmod's binary index is what modprobe reads.
    runProgram('depmod', ['-b', root, '6.1.0'])
    writeFileSync(`${folder}/modules.softdep`, 'softdep r8169 pre: realtek\n')
    const path = '/lib/modules/6.1.0/modules.softdep'
    const own = softdepFor(parseModprobe([{ path, text: 'softdep r8169 pre: realtek\n' }]), 'r8169', 'vfio-pci')
    expect(own).toBe('softdep r8169 pre: vfio-pci realtek')
    expect(loads('vfio-scripts.conf', `${own}\n`)).toEqual(['realtek', 'r8169'])
    expect(loads('00-vfio-scripts.conf', `${own}\n`)).toEqual(['vfio-pci', 'realtek', 'r8169'])
  })
})
