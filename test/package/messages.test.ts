import { expect, it } from 'vitest'
import { allMessages, isMessage, textsOf } from '../support/source-texts.ts'

// What npm run messages shows is what the scripts say: nothing is left out because it was read wrongly.

it('reads texts of every kind, also inside of each other', () => {
  const source = String.raw`const a = 'it\'s' // 'no text'
/* "nor this" */ const b = /['"${'`'}]/.test(x) ? "yes" : ${'`'}one ${'${'}f({ c: 'two' })} three ${'${'}${'`'}four${'`'}}${'`'}`
  expect(textsOf(source)).toEqual([String.raw`it\'s`, 'yes', 'one … three …', 'two', 'four'])
})

it('knows a sentence from a path, a pattern and a word', () => {
  expect(
    ['run as root', 'nothing was written; add --apply', '…: no such device'].filter((text) => !isMessage(text)),
  ).toEqual([])
  expect(['/etc/modprobe.d', 'vfio-pci', '^options .*$', 'isolcpus='].filter(isMessage)).toEqual([])
})

it('has what people see', () => {
  const all = [...allMessages().values()].flat().join('\n')
  for (const text of [
    'nothing to take back.',
    'Nothing was written. Add --apply.',
    'No GPU would be left for the host',
  ])
    expect(all).toContain(text)
  expect(allMessages().size).toBeGreaterThan(150)
})
