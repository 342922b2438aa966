// Manual pages of the built scripts, made from what they print with --help --json, and the page of the whole.
// @ts-check
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** @typedef {import('./lib/terminal/options.ts').Script} Script */
/** @typedef {import('./lib/terminal/options.ts').Option} Option */

const root = fileURLToPath(new URL('.', import.meta.url))
const { releaseDate } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/**
 * Writes NAME.1 of each script and vfio-scripts.7 into `folder`, and removes what was there. Source: mdoc(7).
 * @param {readonly string[]} scripts built files
 * @param {string} folder
 */
export function writeManPages(scripts, folder) {
  rmSync(folder, { recursive: true, force: true })
  /** @type {Script[]} */
  const all = scripts.map((file) =>
    JSON.parse(execFileSync(process.execPath, [file, '--help', '--json'], { encoding: 'utf8' })),
  )
  for (const section of ['man1', 'man7']) mkdirSync(join(folder, section), { recursive: true })
  for (const script of all) writeFileSync(join(folder, 'man1', `${script.name}.1`), commandPage(script, all))
  const commands = all.flatMap(({ name, summary }) => [
    `.It Xr ${name} 1`,
    ...prose(`${nounOf(summary)}.`.replace('?.', '?')),
  ])
  const page = readFileSync(join(root, 'docs/vfio-scripts.7'), 'utf8')
    .replace(/^@HEAD@$/m, head('vfio-scripts', 7))
    .replace(/^@COMMANDS@$/m, commands.join('\n'))
    .replace(/^@PAGES@$/m, all.map(({ name }) => `.Xr ${name} 1 ,`).join('\n'))
  writeFileSync(join(folder, 'man7/vfio-scripts.7'), escapeWide(page))
}

/** @param {string} name @param {number} section */
function head(name, section) {
  const date = new Date(`${releaseDate}T00:00:00Z`)
  const [month, day, year] = [
    { month: /** @type {const} */ ('long') },
    { day: /** @type {const} */ ('numeric') },
    { year: /** @type {const} */ ('numeric') },
  ].map((part) => date.toLocaleDateString('en-US', { ...part, timeZone: 'UTC' }))
  return `.Dd ${month} ${day}, ${year}\n.Dt ${name.toUpperCase()} ${section}\n.Os`
}

/** The first sentence of a summary, without its full stop. @param {string} summary */
function nounOf(summary) {
  return /^[^.?;\n]+\??/.exec(summary)?.[0] ?? ''
}

/** @param {Script} script @param {readonly Script[]} all */
function commandPage({ name, summary, operands, options, exits, examples }, all) {
  const others = all.map((one) => one.name).filter((one) => one !== name)
  return escapeWide(
    [
      head(name, 1),
      '.Sh NAME',
      `.Nm ${name}`,
      `.Nd ${text(nounOf(summary).replace('?', ''))}`,
      '.Sh SYNOPSIS',
      '.Nm',
      '.Op Ar option ...',
      ...(operands === undefined ? [] : [`.Op Ar ${operands} ...`]),
      '.Sh DESCRIPTION',
      ...summary.split('\n').flatMap((line) => prose(line)),
      '.Pp',
      'The options are as follows:',
      '.Bl -tag -width Ds',
      ...options.flatMap((option) => [`.It ${flagOf(option)}`, ...prose(sentence(option))]),
      '.El',
      '.Sh EXIT STATUS',
      '.Bl -tag -width Ds',
      ...exits.flatMap((meaning, code) => [`.It ${code}`, ...prose(meaning)]),
      '.El',
      '.Sh EXAMPLES',
      ...examples
        .flatMap(([command, what]) => [...prose(`${upper(what)}:`), `.Dl ${literal(command)}`, '.Pp'])
        .slice(0, -1),
      '.Sh SEE ALSO',
      ...others.map((one) => `.Xr ${one} 1 ,`),
      '.Xr vfio-scripts 7',
      '',
    ].join('\n'),
  )
}

/** @param {Option} option */
function flagOf({ name, short, kind, value, choices, optional }) {
  const names = `${short === undefined ? '' : `Fl ${short} , `}Fl -${name}`
  const named = value ?? (choices === undefined ? 'VALUE' : 'NAME')
  return kind === 'flag' ? names : `${names} ${optional ? 'Op ' : ''}Ar ${named}`
}

/** What an option does, and the values that it takes. @param {Option} option */
function sentence({ help, choices, kind }) {
  const values = choices === undefined ? '' : ` One of ${choices.join(', ')}.`
  return `${upper(help)}.${values}${kind === 'list' ? ' May be given several times.' : ''}`.replace('?.', '?')
}

/** @param {string} some */
const upper = (some) => some.charAt(0).toUpperCase() + some.slice(1)

/** Text as lines of at most 78 characters; a sentence begins a line. @param {string} some */
function prose(some) {
  return some.split(/(?<=[.?!]) +(?=[A-Z])/).flatMap((each) => {
    const lines = ['']
    for (const word of each.split(' ')) {
      const last = lines.at(-1) ?? ''
      if (last !== '' && text(`${last} ${word}`).length > 78) lines.push(word)
      else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`
    }
    return lines.map(text)
  })
}

/** As a text line of roff: no control characters, dashes that can be copied. @param {string} some */
function text(some) {
  return some.replaceAll('\\', '\\e').replaceAll('-', '\\-').replace(/^[.']/, '\\&$&')
}

/** As the arguments of a macro that shows them as they are. @param {string} some */
function literal(some) {
  const words = some.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('"', '\\(dq')
  // A word that mdoc takes for a macro, or for punctuation that closes one.
  return words.replace(/(?<=^| )(?=[A-Z][a-z]( |$)|[|.,;:?!)(\][]( |$))/g, '\\&')
}

/** @param {string} page */
function escapeWide(page) {
  return page.replace(
    /[^\0-\x7e]/gu,
    (one) => `\\[u${one.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}]`,
  )
}
