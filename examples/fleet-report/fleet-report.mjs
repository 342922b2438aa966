#!/usr/bin/env node
// One report of many hosts, made of what the scripts said there with --status --json (or check-host --json): a file
// each, named HOST.SCRIPT.json.
//
//   node fleet-report.mjs FOLDER                a table; exit code 0: all is as planned, 1: something is not
//   node fleet-report.mjs --prometheus FOLDER   the same for the textfile collector of Prometheus' node_exporter
//
// A file that is empty or holds an error is a host that did not answer: that is never well.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The states in which nothing is to be done. */
const WELL = new Set(['bound', 'in-force', 'none', 'healthy'])

const words = process.argv.slice(2)
const prometheus = words.includes('--prometheus')
const [folder, ...more] = words.filter((word) => word !== '--prometheus')
if (folder === undefined || folder.startsWith('-') || more.length > 0) {
  console.error('usage: fleet-report.mjs [--prometheus] FOLDER')
  process.exit(2)
}

/** Text that came from a host, for a terminal: nothing in it may move the cursor. */
const plain = (text) => String(text).replace(/[^ -~\u00a1-\u024f\u2190-\u21ff\u2026]/g, '?')

/** What one file says of its host. */
function readReport(name) {
  const [, host, script] = /^(.+)\.([\w-]+)\.json$/.exec(name) ?? [undefined, name.replace(/\.json$/, ''), '']
  const none = { host, script, devices: 0, problems: 0, unknown: 0 }
  let said
  try {
    said = JSON.parse(readFileSync(join(folder, name), 'utf8'))
  } catch {
    return { ...none, state: 'no-answer', why: 'what it sent is no JSON document' }
  }
  if (said?.error !== undefined) return { ...none, state: 'error', why: said.error.message }
  const findings = Array.isArray(said?.findings) ? said.findings : undefined
  if (findings === undefined) return { ...none, state: 'no-answer', why: 'it is no answer of --status' }
  const by = (state) => findings.filter((one) => one.state === state)
  const state = said.state ?? (said.healthy === true ? 'healthy' : said.healthy === false ? 'problems' : 'no-answer')
  const problems = by('problem')
  return {
    ...none,
    state,
    devices: said.devices?.length ?? 0,
    problems: problems.length,
    unknown: by('unknown').length,
    why: problems.map(({ summary }) => summary).join('; '),
  }
}

let names
try {
  names = readdirSync(folder).filter((name) => name.endsWith('.json'))
} catch (error) {
  console.error(`fleet-report: ${folder}: cannot be read (${error.code})`)
  process.exit(2)
}
if (names.length === 0) {
  console.error(`fleet-report: ${folder}: there is no file HOST.SCRIPT.json in it`)
  process.exit(2)
}
const reports = names.sort().map(readReport)
const isWell = ({ state, problems }) => WELL.has(state) && problems === 0
if (prometheus) console.log(metrics())
else console.log(table())
process.exitCode = reports.every(isWell) ? 0 : 1

function table() {
  const rows = reports.map((one) => [
    ...[one.host, one.script, one.state, `${one.devices}`, `${one.problems}`, `${one.unknown}`, one.why ?? ''].map(
      plain,
    ),
  ])
  const all = [['HOST', 'SCRIPT', 'STATE', 'DEVICES', 'PROBLEMS', 'UNKNOWN', 'WHAT'], ...rows]
  const widths = all[0].map((_, column) => Math.max(...all.map((row) => row[column].length)))
  const lines = all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  )
  const bad = new Set(reports.filter((one) => !isWell(one)).map(({ host }) => host)).size
  const hosts = new Set(reports.map(({ host }) => host)).size
  return `${lines.join('\n')}\n\n${hosts} hosts, ${bad === 0 ? 'all as planned' : `${bad} not as planned`}`
}

/** Source: the text format of Prometheus (exposition_formats.md): `\`, `"` and line ends are escaped in a label. */
function metrics() {
  const label = (text) => String(text).replace(/[\\"\n]/g, (one) => ({ '\\': '\\\\', '"': '\\"', '\n': '\\n' })[one])
  const metric = (name, help, value, labels = () => '') => [
    `# HELP vfio_scripts_${name} ${help}`,
    `# TYPE vfio_scripts_${name} gauge`,
    ...reports.map(
      (one) =>
        `vfio_scripts_${name}{host="${label(one.host)}",script="${label(one.script)}"${labels(one)}} ${value(one)}`,
    ),
  ]
  return [
    ...metric('as_planned', 'Is all that was set up in force (1), or not (0)?', (one) => Number(isWell(one))),
    ...metric(
      'state',
      'The state that the script names.',
      () => 1,
      ({ state }) => `,state="${label(state)}"`,
    ),
    ...metric('devices', 'Functions that were set up.', ({ devices }) => devices),
    ...metric('problems', 'Findings that are a problem.', ({ problems }) => problems),
    ...metric('unknown', 'Findings that could not be seen.', ({ unknown }) => unknown),
  ].join('\n')
}
