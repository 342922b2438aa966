import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { addWord, hasWord, removeWord, wordsIn } from '../../lib/edit/word-lists.ts'
import { answered, askOfAll } from '../support/ask.ts'
import { sampleOf } from '../support/needs.ts'
import { PROJECT } from '../support/run.ts'

// Real machines' mkinitcpio.conf files, kept beside the checkout where there are any.
const REAL = `${PROJECT}../shared/machines/configs/mkinitcpio`
const real = existsSync(REAL) ? readdirSync(REAL).filter((name) => !name.includes('tmpfiles')) : []

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: bash
/** Texts that are hard to read or to edit. */
const nasty: Record<string, string> = {
  empty: '',
  'an empty array': 'MODULES=()\nHOOKS=()\n',
  'blanks in brackets': 'MODULES=( )\nHOOKS=( base  udev )\n',
  'no final newline': 'HOOKS=(base autodetect block)\nMODULES=(i915)',
  'one word': 'MODULES=(amdgpu)\nHOOKS=(block)\n',
  'an old string': 'MODULES="i915 nouveau"\nHOOKS="base udev autodetect block"\n',
  'single quotes': "MODULES='i915'\nHOOKS='base autodetect'\n",
  'empty strings': 'MODULES=""\nHOOKS=\n',
  'no quotes': 'MODULES=i915\nHOOKS=base\n',
  'several lines': 'MODULES=(\n  amdgpu # the card (of the host)\n  i915\n)\nHOOKS=(base\n  autodetect\n  block\n)\n',
  'a comment first': 'MODULES=( # "these\n  amdgpu)\nHOOKS=(#x\nbase#y autodetect)\n',
  tabs: 'MODULES=(\tamdgpu\ti915\t)\nHOOKS=(base\tautodetect\tblock)\n',
  'quoted words': `MODULES=("amdgpu" 'i915')\nHOOKS=(base 'autodetect' block)\n`,
  appended: 'MODULES=(amdgpu)\nMODULES+=(i915 "ext4")\nHOOKS=(base)\nHOOKS+=(block)\n',
  'a string, appended to': 'MODULES="amdgpu"\nMODULES+=" i915"\nHOOKS="base"\nHOOKS+=(block)\n',
  'several assignments': 'MODULES=(a)\nMODULES=(b c)\nHOOKS=(a)\nHOOKS=(base autodetect)\n',
  'goes on from itself': 'MODULES=(a)\nMODULES=(b "${MODULES[@]}")\nHOOKS=(base)\nHOOKS=(${HOOKS[@]} block)\n',
  'within if': 'MODULES=(a)\nif true; then\n  MODULES+=(b)\nfi\nHOOKS=(base)\n[ -e / ] && HOOKS=(block)\n',
  commented: '#MODULES=(a)\n# HOOKS=(b \\\nHOOKS=(base autodetect) # not (this)\n',
  CRLF: 'MODULES=(a b)\r\nHOOKS="base autodetect"\r\n',
  'may be missing': 'MODULES=(amdgpu? i915?)\nHOOKS=(base)\n',
  'ends in a backslash': 'MODULES=(a)\nHOOKS=(b)\n# \\',
  'one line': 'MODULES=(a); HOOKS=(base autodetect block);BINARIES=()\n',
  'other bytes': '# \xe9\xff\nMODULES=(a)\nHOOKS=(base)\n',
}
// biome-ignore-end lint/suspicious/noTemplateCurlyInString: bash

const cases = [
  ...Object.entries(nasty),
  ...real.map((name): [string, string] => [name, readFileSync(`${REAL}/${name}`, 'latin1')]),
]

/** What bash makes of the texts: every variable of mkinitcpio's, cut up as its arrayize_config() does. */
function bashWords(texts: readonly string[]): Map<string, Record<string, string[]>> {
  const program = `set -f; . "$1/mkinitcpio.conf" || :
for name in MODULES HOOKS BINARIES FILES COMPRESSION COMPRESSION_OPTIONS MODULES_DECOMPRESS; do
  declare -n list=$name
  printf '%s' "$name"; printf ' %s' \${list[@]}; printf '\\n'
done`
  const answers = askOfAll(texts, program, {
    shell: 'bash',
    name: 'mkinitcpio.conf',
    env: { LC_ALL: 'C', BASH_ENV: undefined },
  })
  const wordsOf = (stdout: string): Record<string, string[]> =>
    Object.fromEntries(
      // bash keeps the carriage returns of a CRLF file, where mkinitcpio would find nothing.
      stdout
        .replaceAll('\r', '')
        .split('\n')
        .map((line) => {
          const [name = '', ...words] = line.split(' ').filter((word) => word !== '')
          return [name, words]
        }),
    )
  return new Map([...answers].map(([text, stdout]) => [text, wordsOf(stdout)]))
}

const withModule = (text: string): string => addWord(text, 'MODULES', 'vfio_pci')
const withBoth = (text: string): string => addWord(withModule(text), 'HOOKS', 'modconf', 'autodetect')

describe('words of bash files', () => {
  const asked = bashWords(cases.flatMap(([, text]) => [text, withBoth(text)]))

  it.each(cases.filter(([name]) => name !== 'within if'))('are read as bash does: %s', (_, text) => {
    const words = answered(asked, text)
    // An array with a carriage return behind it is none.
    if (!text.includes(')\r')) expect(wordsIn([text], 'MODULES')).toEqual(words.MODULES)
    expect(wordsIn([text], 'HOOKS')).toEqual(words.HOOKS)
  })

  it.each(cases)('go in where they belong, and out again byte for byte: %s', (_, text) => {
    const before = answered(asked, text)
    const [had, hooked] = [hasWord(text, 'MODULES', 'vfio-pci'), hasWord(text, 'HOOKS', 'modconf')]
    const one = withModule(text)
    const both = withBoth(text)
    expect(hasWord(both, 'MODULES', 'vfio_pci') && hasWord(both, 'HOOKS', 'modconf')).toBe(true)
    expect(addWord(addWord(both, 'MODULES', 'vfio-pci'), 'HOOKS', 'modconf', 'autodetect')).toBe(both)

    const { MODULES = [], HOOKS = [], ...others } = before
    const hooks = [...HOOKS]
    const at = HOOKS.indexOf('autodetect')
    if (!hooked) hooks.splice(at < 0 || both.includes('[@]} modconf') ? hooks.length : at + 1, 0, 'modconf')
    const after = answered(asked, both)
    expect(after).toMatchObject(others)
    if (!text.includes(')\r')) expect(after.MODULES).toEqual(had ? MODULES : ['vfio_pci', ...MODULES])
    // Behind the last word of the whole assignment, which others may be appended to.
    expect([...(after.HOOKS ?? [])].sort()).toEqual([...hooks].sort())
    if (at >= 0) expect(after.HOOKS).toEqual(hooks)

    const back = hooked ? both : removeWord(both, 'HOOKS', 'modconf')
    expect(back).toBe(one)
    if (!had) expect(removeWord(back, 'MODULES', 'vfio_pci')).toBe(text)
  })

  const parts = ['M=(', ')', 'a', ' ', '\n', '"', "'", 'M="', 'M+=(', '#', '\\', '\r\n', 'v_p', '']
  const firsts = sampleOf(parts, 2)
  it('go in and come out of every small text', () => {
    for (const a of firsts)
      for (const b of parts)
        for (const c of parts)
          for (const d of parts) {
            const text = a + b + c + d
            for (const after of [undefined, 'a']) {
              const added = addWord(text, 'M', 'v-p', after)
              if (addWord(added, 'M', 'v-p', after) !== added) expect(text).toBe('twice')
              if (!hasWord(text, 'M', 'v-p') && removeWord(added, 'M', 'v-p') !== text) expect(text).toBe('the word')
            }
          }
  })

  const line = `MODULES=(vfio_pci \${MODULES[@]})`
  it.each([
    ['MODULES=()\n', 'MODULES=(vfio_pci)\n'],
    ['MODULES=( a b )\n', 'MODULES=( vfio_pci a b )\n'],
    ['MODULES="a"\n', 'MODULES="vfio_pci a"\n'],
    ['MODULES=a\n', `MODULES=a\n${line}\n`],
    ['# x', `# x\n${line}`],
    ['MODULES=( # none\n)\n', 'MODULES=( # none\nvfio_pci)\n'],
    ['MODULES=(vfio-pci)\n', 'MODULES=(vfio-pci)\n'],
  ])('are put where they belong: %j', (before, after) => {
    expect(addWord(before, 'MODULES', 'vfio_pci')).toBe(after)
  })
})
