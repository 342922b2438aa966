#!/usr/bin/env node
// node build.mjs                  bundles every scripts/*.mts into a self-contained scripts/*.mjs, with completions/, man/
//                                 and THIRD-PARTY-NOTICES
// node build.mjs run FILE         bundles one TypeScript tool (bench, demo, lab) and runs it
// node build.mjs release FOLDER   puts what was built into a new FOLDER, with packages and SHA256SUMS
// @ts-check
import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { writeCompletions } from './completions.mjs'
import { writeManPages } from './manpages.mjs'
import { release } from './release.mjs'

const NOTICES = 'THIRD-PARTY-NOTICES'
const RULE = '-'.repeat(72)
const root = fileURLToPath(new URL('.', import.meta.url))

/** @type {import('esbuild').BuildOptions} */
const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node18',
  legalComments: 'inline',
  logLevel: 'warning',
}

/** Those that Node has loaded before a script begins. */
const PRESENT = ['node:buffer', 'node:fs', 'node:module', 'node:path', 'node:url']

/**
 * Takes Node's own modules as they are: importing them makes Node build an ES module around each and, for node:fs, load
 * all of its streams, which is a twentieth of a script's start-up. Functions of the others (node:crypto: another
 * twentieth) are got when one is first called.
 * @type {import('esbuild').Plugin}
 */
const builtinsByRequire = {
  name: 'builtins-by-require',
  setup({ onLoad }) {
    onLoad({ filter: /\.m?ts$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8').replace(/^import \{([^}]*)\} from '(node:\w+)'/gm, (_, names, module) =>
        PRESENT.includes(module)
          ? `const {${names.replaceAll(' as ', ': ')}} = require('${module}')`
          : names.replace(/\s*(\w+),?\s*/g, `const $1 = (...args) => require('${module}').$1(...args);`),
      ),
      loader: 'ts',
    }))
  },
}

/** Node 18 and the first of 20 have no getBuiltinModule. */
const BANNER =
  "const require = process.getBuiltinModule ?? (await import('node:module')).createRequire(import.meta.url)"

async function buildScripts() {
  const entries = readdirSync(join(root, 'scripts')).filter((name) => name.endsWith('.mts'))
  const { metafile } = await build({
    ...common,
    metafile: true,
    entryPoints: entries.map((name) => `scripts/${name}`),
    outdir: 'scripts',
    outExtension: { '.js': '.mjs' },
    plugins: [builtinsByRequire],
    banner: { js: BANNER },
  })
  const built = entries.map((name) => join(root, 'scripts', name.replace(/mts$/, 'mjs')))
  const all = new Set()
  for (const file of built) {
    const bundled = bundledIn(metafile.outputs[`scripts/${basename(file)}`])
    for (const name of bundled) all.add(name)
    finish(file, bundled)
  }
  const head = 'Libraries that are bundled into the scripts, and their licences.'
  const notices = [...all].sort().map(noticeOf)
  writeFileSync(join(root, NOTICES), `${[head, ...notices].join(`\n\n${RULE}\n\n`)}\n`)
  await buildOneFile(built)
  writeCompletions(built, join(root, 'completions'))
  writeManPages(built, join(root, 'man'))
}

/** All commands as one file, in which names are short: the single files are the ones to read. @param {string[]} built */
async function buildOneFile(built) {
  const entries = built.map((path) => {
    const help = execFileSync(process.execPath, [path, '--help', '--json'], { encoding: 'utf8' })
    const { name, summary } = JSON.parse(help)
    return `${JSON.stringify(name)}: { summary: ${JSON.stringify(summary.split('\n')[0])}, start: () => import('./${name}.mts') },`
  })
  const outfile = join(root, 'scripts/vfio-scripts.mjs')
  const { metafile } = await build({
    ...common,
    ...{ metafile: true, minify: true, legalComments: 'none', outfile, plugins: [builtinsByRequire] },
    stdin: {
      contents: `import { runOneOf } from '../packaging/one-file.ts'\nawait runOneOf({ ${entries.join('\n')} })\n`,
      ...{ resolveDir: join(root, 'scripts'), loader: 'ts' },
    },
    banner: { js: `#!/usr/bin/env node\n${BANNER}` },
  })
  finish(outfile, bundledIn(metafile.outputs['scripts/vfio-scripts.mjs']))
}

/** @type {Record<string, string>} */
const PLAIN = { '\u2014': '-', '\u2019': "'", '\u2026': '...' }

/** Makes a built file a program that carries its licences. @param {string} file @param {string[]} bundled */
function finish(file, bundled) {
  // In strings they are escaped already. One in a comment has V8 keep and parse all of the text with two bytes for each.
  const text = readFileSync(file, 'utf8').replace(/[^\0-\xff]/g, (char) => PLAIN[char] ?? '*')
  writeFileSync(file, text)
  const own = `vfio-scripts\n\n${readFileSync(join(root, 'LICENSE'), 'utf8').trim()}`
  appendFileSync(file, `\n/*!\n${[own, ...bundled.map(noticeOf)].join(`\n\n${RULE}\n\n`)}\n*/\n`)
  chmodSync(file, 0o755)
}

/**
 * The packages of which something is in an output, by name.
 * @param {import('esbuild').Metafile['outputs'][string] | undefined} output
 */
function bundledIn(output) {
  const names = Object.entries(output?.inputs ?? {}).flatMap(([path, { bytesInOutput }]) => {
    const name = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]
    return name === undefined || bytesInOutput === 0 ? [] : [name]
  })
  return [...new Set(names)].sort()
}

/**
 * What a package wants to be said wherever it goes; each of ours brings the text.
 * @param {string} name
 */
function noticeOf(name) {
  const folder = join(root, 'node_modules', name)
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const text = readFileSync(join(folder, 'LICENSE'), 'utf8').replaceAll('*/', '* /').trim()
  return `${name} ${version} (${license})\n\n${text.replace(/\r/g, '')}`
}

/** @param {string} file @param {string[]} args */
async function run(file, args) {
  const folder = mkdtempSync(join(root, 'node_modules/.run-'))
  try {
    const outfile = join(folder, 'tool.mjs')
    await build({ ...common, entryPoints: [file], outfile, target: 'node20', packages: 'external' })
    return spawnSync(process.execPath, [outfile, ...args], { stdio: 'inherit', cwd: root }).status ?? 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const [mode, file, ...args] = process.argv.slice(2)
if (mode === 'run' && file !== undefined) process.exitCode = await run(file, args)
else if (mode === 'release' && file !== undefined) release(file)
else await buildScripts()
