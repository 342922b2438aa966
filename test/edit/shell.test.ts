import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { addToVariable, argumentsInVariable, cutFromVariable, isInVariable } from '../../lib/edit/shell-variables.ts'
import { scratchDir } from '../support/machine.ts'

const dir = scratchDir('shell')

/** What bash has in A after it read the files; one character a byte. */
function bashReads(...texts: string[]): string {
  const paths = texts.map((text, index) => {
    writeFileSync(`${dir}/${index}`, text, 'latin1')
    return `${dir}/${index}`
  })
  const program = 'for file; do . "$file"; done >/dev/null 2>&1; printf %s "$A"'
  const { stdout } = spawnSync('bash', ['--norc', '-c', program, 'bash', ...paths], {
    env: { PATH: '/usr/bin:/bin' },
    encoding: 'latin1',
  })
  return stdout
}

const claims = (...texts: string[]): string[] =>
  argumentsInVariable(
    texts.map((text, index) => ({ path: `${index}`, text })),
    'A',
  ).map(({ token, sure }) => (sure ? token : '?'))

const words = (line: string): string[] => line.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? []

/** Files that say something for certain: all that bash says. */
const CERTAIN: [string, string[]][] = [
  ['single quotes', ["A='quiet splash'\n"]],
  ['double quotes', ['A="quiet splash"\n']],
  ['no quotes', ['A=quiet\n']],
  ['pieces', ['A="quiet "\'spl\'ash" iommu=pt"\n']],
  ['escapes', ['A=quiet\\ splash\\\n\\ ro\n', 'A="$A \\"x\\y\\" \\$A"\n']],
  ['more than once', ['A="quiet"\nA="ro"\n']],
  ['+=', ['A=quiet\nA+=" ro"\nA+=\' splash\'\n']],
  ['variables', [`B='resume=/swap'\nA="quiet $B"\nA="\${A} \${B}x"\n`]],
  ['a line that goes on', ['A="quiet \\\n  splash" \\\n  B=1\n']],
  ['a comment behind', ['A="quiet" # A="no"\n#A=no\nB=x#y\n']],
  ['several on a line', ['A=1 B=2; A="$A $B"\n']],
  ['export', ["export A='quiet ro'\nexport A\n"]],
  ['no newline at its end', ['A="quiet"']],
  ['nothing', ['A=\n', 'A=""\n', '\n']],
  ['bytes that are no UTF-8', ['A="\xe0\xff \xc3\xa0x"\n']],
  ['carriage returns', ['A="quiet"\r\nB=x\r\n']],
  ['kernel quotes', ['A="quiet dyndbg=\\"func really_probe +p\\""\n', 'A="$A acpi_osi=\'!Windows 2012\'"\n']],
  ['other assignments in code', ['A=quiet\nif true; then B=1; fi\nf() {\n  C=2\n}\nf\n']],
  ['a here-document', ["cat <<EOF\nit's B=x\nEOF\nA=quiet\n"]],
  ['a case', ['case x in\n  x) B=1 ;;\n  (y|z) ;;\nesac\nA=quiet\n']],
  ['drop-ins', ['A="quiet"\n', 'A="console=tty1 console=ttyS0"\n', 'A="$A intel_iommu=on"\n']],
]

/** Files of which only a shell could tell all; what is claimed of them. */
const UNCERTAIN: [string, string, string[]][] = [
  ['$(…)', 'A="quiet $(echo ")" x) ro"\n', ['quiet', '?', 'ro']],
  ['backquotes', 'A="quiet `echo \\`echo x\\`` ro"\n', ['quiet', '?', 'ro']],
  ['$(…) and what touches it', 'A="a$(echo x)b ro"\n', ['?', 'ro']],
  ['an environment variable', `A="quiet \${sysconfdir} ro"\n`, ['quiet', '?', 'ro']],
  ['a variable that a function may set', 'A=quiet\nf() { A=no; }\nf\nA="$A ro"\n', ['?', 'ro']],
  ['a function called later', 'f() { A=no; }\nA=quiet\nf\n', ['?']],
  ['a function on lines of its own', 'f()\n{\n  A=no\n}\nA=quiet\nf\n', ['?']],
  ['if', 'A=quiet\nif [ -e /nowhere ]; then\n  A=no\nfi\n', ['?']],
  ['&&', 'A=quiet\nfalse && A=no\n', ['?']],
  ['for', 'A=quiet\nfor B in 1 2; do A="$A $B"; done\nA="$A ro"\n', ['?', 'ro']],
  ['a command behind', 'A=quiet\nA=no true\n', ['?']],
  ['a subshell', 'A=quiet\n(A=no)\n', ['?']],
  ['a pipeline', 'A=quiet\ntrue | A=no\n', ['?']],
  ['a here-document', 'A=quiet\ncat <<EOF\nA=no\nEOF\n', ['?']],
  ['source', 'A=quiet\nB="/nowhere"\n. $B\nA="$A ro"\n', ['?', 'ro']],
  ['eval', 'A=quiet\neval "$(echo A=x)"\n', ['?']],
  ['unset', 'A=quiet\nunset A\n', ['?']],
  ['return', 'A=quiet\n[ -e / ] && return\nA=no\n', ['?']],
  ['readonly', 'A=quiet\nreadonly B\nA=ro\n', ['?']],
  ['an arithmetic assignment', 'A=quiet\nB=$((A=3))\n', ['?']],
  ['an array', 'A=(quiet ro)\n', ['?']],
  ['no end of a quote', 'A=quiet\nB="\n', ['?']],
  ['no end of an if', 'A=quiet\nif true; then\nA=no\n', ['?']],
]

describe('a shell file', () => {
  it.each(CERTAIN)('with %s is read as bash reads it', (_, texts) => {
    expect(claims(...texts)).toEqual(words(bashReads(...texts)))
  })

  it.each(UNCERTAIN)('with %s: nothing is guessed', (_, text, claimed) => {
    expect(claims(text)).toEqual(claimed)
    const real = words(bashReads(text))
    for (const token of claimed) if (token !== '?') expect(real).toContain(token)
  })

  it('names the file and line of each argument', () => {
    const files = [
      { path: '/a', text: 'B=ro\n\nA="quiet $B"\n' },
      { path: '/b', text: '#\nA+=" splash"\n' },
    ]
    expect(
      argumentsInVariable(files, 'A').map(({ token, file, line, variable }) => [token, file, line, variable]),
    ).toEqual([
      ['quiet', '/a', 3, 'A'],
      ['ro', '/a', 1, 'B'],
      ['splash', '/b', 2, 'A'],
    ])
  })
})

describe('an argument in a shell file', () => {
  const all = [...CERTAIN.flatMap(([name, texts]) => texts.map((text): [string, string] => [name, text])), ...UNCERTAIN]
  const refused = /no end of|^return$|^readonly$/

  it.each(all.map(([name, text]) => [name, text] as const))(
    'with %s: bash sees it and all that was; then %j is back',
    (name, text) => {
      const before = words(bashReads(text))
      for (const tokens of [['intel_iommu=on'], ['vfio-pci.ids=10de:1cb6', 'vfio-pci.ids=10de:0fb9']]) {
        let after = text
        for (const token of tokens) after = addToVariable(after, 'A', token)
        if (refused.test(name)) expect(after).toBe(text)
        else {
          const ours = tokens.length > 1 ? 'vfio-pci.ids=10de:1cb6,10de:0fb9' : 'intel_iommu=on'
          expect(words(bashReads(after))).toEqual([...before, ours])
          for (const token of tokens) expect(isInVariable(after, 'A', token)).toBe(true)
        }
        for (const token of [...tokens].reverse()) after = cutFromVariable(after, 'A', token)
        expect(after).toBe(text)
      }
    },
  )

  it.each([
    // single-quoted values re-quoted
    ['A=\'quiet acpi_osi="!Windows 2012"\'', 'A=\'quiet acpi_osi="!Windows 2012" iommu=pt\''],
    ['A="quiet"  # mine', 'A="quiet iommu=pt"  # mine'],
    ['A=""', 'A="iommu=pt"'],
    ['A=', 'A=iommu=pt'],
    ['A=quiet', 'A=quiet" iommu=pt"'],
    ['A="quiet\\\n ro"', 'A="quiet\\\n ro iommu=pt"'],
    // the whole line overwritten
    ['A="cryptdevice=/dev/sda3:luks resume=/swap" B=1', 'A="cryptdevice=/dev/sda3:luks resume=/swap iommu=pt" B=1'],
    ['A="old"\nA="quiet"', 'A="old"\nA="quiet iommu=pt"'],
    ['B=1\n', 'B=1\nA="$A iommu=pt"\n'],
    ['A="iommu=pt"\nA="quiet"', 'A="iommu=pt"\nA="quiet iommu=pt"'],
    ['A=quiet\nif [ -e / ]; then A=no; fi\n', 'A=quiet\nif [ -e / ]; then A=no; fi\nA="$A iommu=pt"\n'],
  ])('%j becomes %j', (text, after) => {
    expect(addToVariable(text, 'A', 'iommu=pt')).toBe(after)
    expect(cutFromVariable(after, 'A', 'iommu=pt')).toBe(text)
  })

  it('goes into the list that is there', () => {
    const text = 'IDS=1b21:2142\nA="quiet vfio-pci.ids=$IDS,1b21:2143 ro"\n'
    const after = addToVariable(text, 'A', 'vfio-pci.ids=10de:1cb6')
    expect(after).toBe('IDS=1b21:2142\nA="quiet vfio-pci.ids=$IDS,1b21:2143,10de:1cb6 ro"\n')
    expect(bashReads(after)).toBe('quiet vfio-pci.ids=1b21:2142,1b21:2143,10de:1cb6 ro')
    expect(cutFromVariable(after, 'A', 'vfio-pci.ids=10de:1cb6')).toBe(text)
  })

  it('may hold quotes', () => {
    for (const text of ['A="quiet"\n', "A='quiet'\n", 'A=quiet\n', '']) {
      const token = 'dyndbg="func a$b +p"'
      const after = addToVariable(text, 'A', token)
      expect(bashReads(after)).toBe(`${text === '' ? '' : 'quiet'} ${token}`)
      expect(cutFromVariable(after, 'A', token)).toBe(text)
    }
  })
})
