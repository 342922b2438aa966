import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { apply, card, etcOf, expectRan, expectSettled, undo } from '../support/bind.ts'
import { arch, generatorDir, none, oldArch } from '../support/generators.ts'
import { scratchDir } from '../support/machine.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'
import { PROJECT, runProgram } from '../support/run.ts'
import { systemDir, textOf } from '../support/system.ts'

// Real machines' configurations, kept beside the checkout where there are any.
const REAL = `${PROJECT}../shared/machines/configs`

/** Each file with its place: `owner_repository__etc__mkinitcpio.conf` lay in /etc. */
function configs(folder: string, place: RegExp): { name: string; path: string; text: string }[] {
  const names = existsSync(`${REAL}/${folder}`) ? readdirSync(`${REAL}/${folder}`) : []
  return names.flatMap((name) => {
    const [, path] = place.exec(name) ?? []
    const text = readFileSync(`${REAL}/${folder}/${name}`, 'latin1')
    return path === undefined ? [] : [{ name, path: `etc/${path.replaceAll('__', '/')}`, text }]
  })
}

/** Every variable that bash has after it read the texts as one file, as `declare -p` prints it. */
function bashVariables(...texts: string[]): Record<string, string> {
  const file = `${scratchDir('conf')}/conf`
  writeFileSync(file, texts.join(''), 'latin1')
  const script = `set -f; . "$1" 2>/dev/null; for name in $(compgen -v); do declare -p "$name"; done`
  const { stdout } = runProgram('env', ['-i', 'LC_ALL=C', 'bash', '--noprofile', '--norc', '-c', script, 'bash', file])
  const lines = [...stdout.matchAll(/^declare -\S+ ([A-Z][A-Z_]+|[a-z]\w+)=(.*)$/gm)]
  const own = lines.filter(([, name = '']) => !/^(BASH|EUID|UID|PPID|SHELL|RANDOM|SRANDOM|SECONDS|EPOCH)/.test(name))
  return Object.fromEntries(own.map(([, name = '', value = '']) => [name, value]))
}

/** The words of a value that `declare -p` printed: `([0]="a" [1]="b")` or `"a b"`. */
function words(value: string | undefined): string[] {
  const elements = value?.startsWith('(')
    ? [...value.matchAll(/\]="([^"]*)"/g)].map(([, text]) => text)
    : [value?.slice(1, -1)]
  return elements.flatMap((text) => (text ?? '').split(/\s+/)).filter((word) => word !== '')
}

const sorted = (list: readonly string[]): string[] => [...list].sort()
const hasModule = (list: readonly string[]): boolean => list.some((word) => /^vfio[-_]pci$/.test(word))

/** Apply, apply again, undo: what the file said in between. */
function roundTrip(dir: string, path: string): string {
  const before = etcOf(dir)
  expectRan(apply(dir, card), 0)
  const text = textOf(dir, path) ?? ''
  expectSettled(dir, card)
  expectRan(undo(dir), 0, /Taken back/)
  expect(etcOf(dir)).toBe(before)
  return text
}

const main = 'etc/mkinitcpio.conf'
const dropIn = 'etc/mkinitcpio.conf.d/zz-vfio-scripts.conf'
const mkinitcpio = configs('mkinitcpio', /__(?:etc__)?(mkinitcpio(?:\.fallback)?\.conf(?:\.d__.*)?)$/).filter(
  ({ name }) => !name.includes('tmpfiles'),
)

needs(REAL_FILES, mkinitcpio.length > 0).describe('real files: mkinitcpio', () => {
  it.each(sampleOf(mkinitcpio, 5))('$name', ({ path, text }) => {
    const inMain = !path.includes('.conf.d/')
    const dir = generatorDir(inMain ? oldArch : arch, inMain ? { [main]: text } : { [path]: text })
    const rest = inMain ? '' : (textOf(dir, main) ?? '')
    const before = bashVariables(rest, text)
    const changed = roundTrip(dir, inMain ? main : dropIn)
    // A drop-in is joined to what is read before it, which may have no newline at its end.
    const had = words(before.MODULES)
    const dropped = bashVariables(rest, text, inMain ? `\n#\nMODULES=(vfio_pci \${MODULES[@]})\n` : changed)
    const cases: [Record<string, string>, string[]][] = [[dropped, ['vfio_pci', ...had]]]
    if (inMain) cases.push([bashVariables(changed), hasModule(had) ? had : ['vfio_pci', ...had]])
    for (const [{ MODULES, HOOKS, ...others }, modules] of cases) {
      expect(others).toEqual({ ...before, MODULES: undefined, HOOKS: undefined })
      expect(words(MODULES)).toEqual(modules)
      const hooks = words(HOOKS).filter((word) => word !== 'modconf')
      expect(hooks).toEqual(words(before.HOOKS).filter((word) => word !== 'modconf'))
    }
    if (inMain) expect(words(bashVariables(changed).HOOKS)).toContain('modconf')
  })
})

const dracut = configs('dracut', /__(?:etc|lib)__(dracut\.conf(?:\.d__.*)?)$/)

needs(REAL_FILES, dracut.length > 0).describe('real files: dracut', () => {
  it.each(sampleOf(dracut, 3))('$name', ({ path, text }) => {
    const dir = systemDir({ machine: 'i9-14900k-vmd', generator: 'dracut', files: { [path]: text } })
    const ours = roundTrip(dir, 'etc/dracut.conf.d/zz-vfio-scripts.conf')
    // Each file is read whole, ours last.
    const [before, after] = [bashVariables(text, '\n'), bashVariables(text, '\n', ours)]
    const lists = ['force_drivers', 'install_items']
    const others = (all: Record<string, string>) => Object.entries(all).filter(([name]) => !lists.includes(name))
    expect(others(after)).toEqual(others(before))
    expect(words(after.force_drivers)).toEqual([...words(before.force_drivers), 'vfio_pci'])
    expect(words(after.install_items)).toEqual([...words(before.install_items), '/etc/modprobe.d/00-vfio-scripts.conf'])
    expect(after.force_drivers).toMatch(/ vfio_pci "$/)
  })
})

const modulesLoad = configs('modules-load', /__etc__(modules(?:-load\.d__.*)?)$/)

needs(REAL_FILES, modulesLoad.length > 0).describe('real files: modules-load.d', () => {
  it.each(sampleOf(modulesLoad, 2))('$name', ({ path, text }) => {
    const dir = generatorDir(none, { [path]: text })
    expect(roundTrip(dir, 'etc/modules-load.d/vfio-scripts.conf')).toMatch(/^#.*\nvfio-pci\n$/)
    expect(readFileSync(join(dir, path), 'latin1')).toBe(text)
    expect(sorted(readdirSync(join(dir, 'etc')))).toContain(path.split('/')[1])
  })
})
