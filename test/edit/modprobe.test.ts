import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  addId,
  addLine,
  type Directive,
  hasId,
  hasLine,
  type ModprobeFile,
  modprobeFiles,
  parseModprobe,
  removeId,
  removeLine,
} from '../../lib/edit/modprobe.ts'
import { softdeps } from '../../lib/edit/modprobe-conflicts.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { answered, askOfAll } from '../support/ask.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { PROJECT } from '../support/run.ts'

// Real machines' modprobe.d files, kept beside the checkout where there are any.
const REAL = `${PROJECT}../shared/machines/configs/modprobe`
const real = existsSync(REAL) ? readdirSync(REAL) : []
const id = '10de:1cb6'

/** Texts that are hard to read or to edit. */
const nasty: Record<string, string> = {
  empty: '',
  'a newline': '\n',
  'no final newline': 'options vfio-pci ids=1002:5159',
  CRLF: '# me\r\noptions vfio-pci ids=1002:5159 disable_vga=1\r\nblacklist nouveau\r\n',
  underscores: 'options vfio_pci disable_idle_d3=1 ids=1002:5159\n',
  'continued within the list': 'options vfio-pci ids=1002:5159,\\\n1002:5160\n',
  'continued before the list': 'options vfio-pci \\\n  ids=1002:5159 \\\n disable_vga=1\n',
  'continued comment': '# options \\\noptions vfio-pci ids=1\noptions vfio-pci ids=1002:5159\n',
  'ends in a continuation': 'options vfio-pci disable_vga=1 \\\n',
  'ends in a backslash': 'softdep nouveau pre: \\',
  'only a backslash': '\\',
  quotes: 'options vfio-pci ids="1002:5159, 1002:5160" disable_vga=1\n',
  'quoted whole': 'options vfio-pci "ids=1002:5159"\n',
  'empty list': 'options vfio-pci ids=\n',
  'empty list in quotes': 'options vfio-pci ids=""\n',
  commas: 'options vfio-pci ids=,\noptions vfio-pci ids=1002:5159,\n',
  'spaces in the list': 'options vfio-pci ids=1002:5159, 1002:5160\n',
  'two lists': 'options vfio-pci ids=10de:1cb6 disable_vga=1\noptions vfio-pci ids=1002:5159\n',
  'two in one line': 'options vfio-pci ids=10de:1cb6 ids=1002:5159\n',
  'other modules': 'options pci-stub ids=10de:1cb6\noptions vfio ids=10de:1cb6\n',
  'bad lines': 'Options vfio-pci ids=1\noptions vfio-pci\noptions a]b c\nalias x\n #c\nids=2\n',
  'all commands':
    'blacklist\t a-b c\ninstall  a-b   /bin/x y  \nremove a-b  z\nalias a-*[0-9-] b-c d\nsoftdep a-b  pre:  x-y   z\n  blacklist q\noptions a[b-]c-d e-f\n',
  'blanks in softdeps':
    'softdep a  pre: b\nsoftdep c   pre: d  post:\te post:\nsoftdep f pre:g h\nsoftdep i\t\tpost: j pre: k\r\n',
  backslashes: 'options a b=\\"c\\\\\\"\ninstall x /bin/sh -c "a \\\n b"\n',
  'other bytes': '# \xe9\xff\noptions a b=\xe9\xff\xc2\xa0c\n',
}

function cases(): [string, string][] {
  const files = real.map((name): [string, string] => [name, readFileSync(`${REAL}/${name}`, 'latin1')])
  return [...Object.entries(nasty), ...files]
}

/** What the real modprobe makes of each file; its own kernel's command line and tables are left out. */
function showConfigs(texts: readonly string[]): Map<string, string[]> {
  const program = 'LC_ALL=C modprobe -S none -C "$1" --showconfig'
  const answers = askOfAll(['', ...texts], program, { name: 'a.conf' })
  return new Map([...answers].map(([text, stdout]) => [text, withoutAlways(stdout, answers.get('') ?? '')]))
}

function withoutAlways(shown: string, always: string): string[] {
  const counts = new Map<string, number>()
  for (const line of always.split('\n')) counts.set(line, (counts.get(line) ?? 0) + 1)
  // These come last of each kind.
  const lines = shown
    .split('\n')
    .reverse()
    .filter((line) => {
      const count = counts.get(line) ?? 0
      if (count > 0) counts.set(line, count - 1)
      return count === 0
    })
  return lines.reverse()
}

/** The same from our reading, in the order in which `--showconfig` prints kinds. */
function ourConfig(files: readonly ModprobeFile[]): string[] {
  const directives = parseModprobe(files)
  const print = (directive: Directive): string => {
    const { command, module, rest } = directive
    if (command !== 'softdep') return rest === '' ? `${command} ${module}` : `${command} ${module} ${rest}`
    const [pre, post] = [softdeps(directive, 'pre'), softdeps(directive, 'post')]
    const parts = [...(pre.length > 0 ? ['pre:', ...pre] : []), ...(post.length > 0 ? ['post:', ...post] : [])]
    return ['softdep', module, ...parts].join(' ')
  }
  const kinds = ['blacklist', 'install', 'remove', 'alias', 'options', 'softdep']
  return kinds.flatMap((kind) => directives.filter(({ command }) => command === kind).map(print))
}

/** kmod up to version 30 takes a backslash at the end of a file as byte 255; it prints `post:` without a blank before. */
const comparable = (line: string): string =>
  line
    .replace(/( pre:)? \xff$|\xff$/, '')
    .replace(/^(softdep .*\S)post:/, '$1 post:')
    .replace(/^(softdep .*?) *$/, '$1')

needs('modprobe').describe('the real modprobe', () => {
  const softdep = 'softdep nouveau pre: vfio-pci'
  const changedFrom = (text: string): string => addLine(addId(text, 'vfio-pci', id), softdep)
  const shown = showConfigs(cases().flatMap(([, text]) => [text, changedFrom(text)]))
  const showConfig = (text: string): string[] => answered(shown, text).map(comparable)

  it.each(cases())('reads as we do: %s', (_, text) => {
    const files = [{ path: '/a.conf', text }]
    expect(ourConfig(files).map(comparable)).toEqual(showConfig(text))
  })

  it('reads all of them in our order', () => {
    const files = cases().map(([name, text]) => ({ path: `/${name.replace(/[^\w-]/g, '_')}.conf`, text }))
    const root = scratchDir('root')
    mkdirSync(`${root}/etc/modprobe.d`, { recursive: true })
    for (const { path, text } of files) writeFileSync(`${root}/etc/modprobe.d${path}`, text, 'latin1')
    const read = modprobeFiles(openReader(root))
    expect(read.length).toBe(files.length)
    const ask = (folder: string): string => {
      const program = `LC_ALL=C modprobe -S none -C '${folder}' --showconfig`
      return [...askOfAll([''], program).values()].join('')
    }
    const theirs = withoutAlways(ask(`${root}/etc/modprobe.d`), ask(scratchDir('modprobe.d')))
    expect(ourConfig(read).map(comparable)).toEqual(theirs.map(comparable))
  })

  it.each(cases())('sees what was added, and nothing else: %s', (_, text) => {
    const before = showConfig(text)
    const after = showConfig(changedFrom(text))
    expect(after).toContain(softdep)
    const known = [...before]
    const others = after.filter((line) => {
      const at = known.indexOf(line)
      if (at >= 0) known.splice(at, 1)
      return at < 0
    })
    // One line of options was changed or is new.
    const changed = others.filter((line) => line !== softdep)
    expect(changed.length).toBe(hasId(text, 'vfio-pci', id) ? 0 : 1)
    // Without the last ID and one of its commas it is what was there.
    const without = [/,10de:1cb6(?!.*10de:1cb6)/, /10de:1cb6,?(?!.*10de:1cb6)/].map((it) =>
      changed.join().replace(it, ''),
    )
    expect(without).toContain(known.join() || changed.map(() => 'options vfio_pci ids=').join())
  })
})

describe('IDs and lines', () => {
  const line = 'softdep nouveau pre: vfio-pci'

  it.each(cases())('go in once and come out again, byte for byte: %s', (_, text) => {
    if (!hasId(text, 'vfio-pci', id)) {
      const added = addId(text, 'vfio-pci', id)
      expect(hasId(added, 'vfio_pci', id.toUpperCase())).toBe(true)
      expect(addId(added, 'vfio-pci', id.toUpperCase())).toBe(added)
      expect(removeId(added, 'vfio-pci', id)).toBe(text)
      const two = addId(added, 'vfio-pci', '10de:0fb9')
      expect(removeId(removeId(two, 'vfio-pci', id), 'vfio-pci', '10de:0fb9')).toBe(text)
    }
    expect(hasId(removeId(text, 'vfio-pci', id), 'vfio-pci', id)).toBe(false)
    if (!hasLine(text, line)) expect(removeLine(addLine(text, line), line)).toBe(text)
    expect(addLine(addLine(text, line), line)).toBe(addLine(text, line))
    expect(hasLine(removeLine(text, line), line)).toBe(false)
  })

  it('go in and come out of every small text', () => {
    const parts = ['options vfio-pci ids=', '1:2', id, ',', ' ', '\n', '\\\n', '\\', '\r\n', '"', '#', line, 'x=1', '']
    for (const a of parts)
      for (const b of parts)
        for (const c of parts)
          for (const d of parts) {
            const text = a + b + c + d
            const [withId, withLine] = [addId(text, 'vfio-pci', id), addLine(text, line)]
            if (!hasId(withId, 'vfio-pci', id) || !hasLine(withLine, line)) expect(text).toBe('not there')
            if (!hasId(text, 'vfio-pci', id) && removeId(withId, 'vfio-pci', id) !== text) expect(text).toBe('the ID')
            if (!hasLine(text, line) && removeLine(withLine, line) !== text) expect(text).toBe('the line')
          }
  })

  it.each([
    ['', 'options vfio-pci ids=10de:1cb6\n'],
    ['options vfio-pci ids=1002:5159\r\n', 'options vfio-pci ids=1002:5159,10de:1cb6\r\n'],
    ['options vfio-pci ids=1002:5159, 1:2\n', 'options vfio-pci ids=1002:5159,10de:1cb6, 1:2\n'],
    ['options vfio-pci ids="1:2" x=1\n', 'options vfio-pci ids="1:2,10de:1cb6" x=1\n'],
    ['options vfio-pci ids=1:2,\\\n3:4 \\\n x=1\n', 'options vfio-pci ids=1:2,\\\n3:4,10de:1cb6 \\\n x=1\n'],
    ['options vfio-pci x=1\n', 'options vfio-pci x=1\noptions vfio-pci ids=10de:1cb6\n'],
    ['options vfio-pci ids=\n', 'options vfio-pci ids=10de:1cb6,\n'],
    ['# x', '# x\noptions vfio-pci ids=10de:1cb6'],
    ['# x\n# y\\', '# x\noptions vfio-pci ids=10de:1cb6\n# y\\'],
  ])('are put where they belong: %j', (before, after) => {
    expect(addId(before, 'vfio-pci', id)).toBe(after)
  })

  it.each([
    ['options vfio-pci ids=10de:1cb6\n', ''],
    ['options vfio-pci ids=10DE:1CB6,1:2 x=1\n', 'options vfio-pci ids=1:2 x=1\n'],
    ['options vfio-pci ids=1:2,10de:1cb6,10de:1cb6\n', 'options vfio-pci ids=1:2\n'],
    ['options vfio-pci ids=10de:1cb6 x=1\n', 'options vfio-pci x=1\n'],
    ['options vfio-pci \\\n ids=10de:1cb6 \\\n x=1\n', 'options vfio-pci \\\n \\\nx=1\n'],
    ['options vfio-pci x=1 ids=10de:1cb6 # mine\r\n', 'options vfio-pci x=1 # mine\r\n'],
    ['a\noptions vfio-pci ids=10de:1cb6 \\\n\nb', 'a\nb'],
    ['options vfio-pci ids=10de:1cb6:1028\n', 'options vfio-pci ids=10de:1cb6:1028\n'],
  ])('are taken out with what was for them alone: %j', (before, after) => {
    expect(removeId(before, 'vfio-pci', id)).toBe(after)
  })

  it('are lines only when they stand alone', () => {
    expect(hasLine(`${line} \t\r\n`, line)).toBe(true)
    expect(hasLine(`# x \\\n${line}\n`, line)).toBe(false)
    expect(hasLine(`${line}-x\n`, line)).toBe(false)
    expect(removeLine(`a\n${line}\nb\r\n${line}\r\n${line}`, line)).toBe('a\nb\r\n')
  })
})

describe('files', () => {
  it('are read by name, the first folder first, and once where /lib is a link', () => {
    const root = scratchDir('root')
    const write = (path: string, text: string): void => {
      mkdirSync(dirname(root + path), { recursive: true })
      writeFileSync(root + path, text)
    }
    write('/usr/lib/modprobe.d/b.conf', 'blacklist hidden\n')
    write('/usr/lib/modprobe.d/masked.conf', 'blacklist masked\n')
    write('/usr/lib/modprobe.d/systemd.conf', 'options bonding max_bonds=0\n')
    write('/usr/lib/modules/6.1.0/modules.softdep', 'softdep r8169 pre: realtek\n')
    write('/run/modprobe.d/a.conf', 'blacklist a\n')
    write('/etc/modprobe.d/b.conf', '\nblacklist b\n')
    for (const name of ['b.conf~', '.b.conf', 'README', 'conf']) write(`/etc/modprobe.d/${name}`, 'blacklist none\n')
    symlinkSync('/dev/null', `${root}/etc/modprobe.d/masked.conf`)
    symlinkSync('usr/lib', `${root}/lib`)
    const files = openReader(root)
    expect(modprobeFiles(files).map(({ path }) => path)).toEqual([
      '/run/modprobe.d/a.conf',
      '/etc/modprobe.d/b.conf',
      '/usr/lib/modprobe.d/systemd.conf',
    ])
    expect(parseModprobe(modprobeFiles(files, '6.1.0'))).toEqual([
      { file: '/run/modprobe.d/a.conf', line: 1, command: 'blacklist', module: 'a', rest: '' },
      { file: '/etc/modprobe.d/b.conf', line: 2, command: 'blacklist', module: 'b', rest: '' },
      {
        file: '/lib/modules/6.1.0/modules.softdep',
        line: 1,
        command: 'softdep',
        module: 'r8169',
        rest: 'pre: realtek',
      },
      { file: '/usr/lib/modprobe.d/systemd.conf', line: 1, command: 'options', module: 'bonding', rest: 'max_bonds=0' },
    ])
    expect(modprobeFiles(openReader(scratchDir('nothing')))).toEqual([])
  })
})
