// A release: the single files, the file of all commands, a source archive, packages, and SHA256SUMS.
// @ts-check
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('.', import.meta.url))
const { version, releaseDate } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const date = new Date(`${releaseDate}T00:00:00Z`)
/** Of all files in archives and packages, so that the same sources give the same bytes. */
const EPOCH = String(date.getTime() / 1000)
const MAINTAINER = process.env.MAINTAINER ?? 'The vfio-scripts authors <vfio-scripts@users.noreply.example.org>'
const ONE_FILE = 'vfio-scripts.mjs'

/**
 * Makes the release in `folder`, and says which package was left out, for lack of the programs that build it.
 * @param {string} to
 */
export function release(to) {
  // Programs that make parts of it run in folders of their own.
  const folder = resolve(to)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const name = `vfio-scripts-${version}`
  const work = mkdtempSync(join(tmpdir(), 'vfio-release-'))
  try {
    const tree = join(work, name)
    for (const each of ['completions', 'man']) cpSync(join(root, each), join(tree, each), { recursive: true })
    for (const each of readdirSync(join(root, 'scripts')))
      if (/^[\w-]+\.(mjs|md)$/.test(each) && each !== ONE_FILE) cpSync(join(root, 'scripts', each), join(tree, each))
    for (const each of ['LICENSE', 'THIRD-PARTY-NOTICES']) cpSync(join(root, each), join(tree, each))
    for (const each of readdirSync(tree)) cpSync(join(tree, each), join(folder, each), { recursive: true })
    cpSync(join(root, 'scripts', ONE_FILE), join(folder, ONE_FILE))
    const archive = `${name}.tar.gz`
    const same = ['--sort=name', `--mtime=@${EPOCH}`, '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX']
    run(work, 'tar', [...same, '--use-compress-program=gzip -n -9', '-cf', join(folder, archive), name])
    for (const each of ['PKGBUILD', 'vfio-scripts.spec', 'flake.nix'])
      writeFileSync(join(folder, each), filled(`packaging/${each}`, sumOf(join(folder, archive))))
    if (!buildDeb(tree, folder)) console.error('release: no .deb: dpkg-buildpackage and debhelper are not here')
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((each) => statSync(join(folder, each)).isFile())
    .sort()
  writeFileSync(join(folder, 'SHA256SUMS'), files.map((file) => `${sumOf(join(folder, file))}  ${file}\n`).join(''))
}

/** Builds the Debian package by debhelper; false where that is not here. @param {string} tree @param {string} folder */
function buildDeb(tree, folder) {
  const has = (/** @type {string} */ program) =>
    (process.env.PATH ?? '').split(':').some((place) => existsSync(join(place, program)))
  if (!has('dpkg-buildpackage') || !has('dh')) return false
  const debian = join(tree, 'debian')
  cpSync(join(root, 'packaging/debian'), debian, { recursive: true })
  for (const each of ['control', 'changelog']) writeFileSync(join(debian, each), filled(`packaging/debian/${each}`, ''))
  const commands = readdirSync(tree).filter((each) => each.endsWith('.mjs'))
  const links = commands.map((each) => `usr/share/vfio-scripts/${each} usr/bin/${each.replace('.mjs', '')}\n`)
  writeFileSync(join(debian, 'links'), links.join(''))
  const notices = ['LICENSE', 'THIRD-PARTY-NOTICES'].map((each) => readFileSync(join(root, each), 'utf8'))
  writeFileSync(join(debian, 'copyright'), notices.join(`\n${'-'.repeat(72)}\n\n`))
  chmodSync(join(debian, 'rules'), 0o755)
  run(tree, 'dpkg-buildpackage', ['--build=all', '--no-sign'], { SOURCE_DATE_EPOCH: EPOCH })
  const deb = `vfio-scripts_${version}_all.deb`
  cpSync(join(tree, '..', deb), join(folder, deb))
  return true
}

/** A template with what a release fills in. @param {string} path @param {string} sum of the source archive */
function filled(path, sum) {
  const [weekday, day, month, year] = date.toUTCString().replace(',', '').split(' ')
  return readFileSync(join(root, path), 'utf8')
    .replaceAll('@VERSION@', version)
    .replaceAll('@MAINTAINER@', MAINTAINER)
    .replaceAll('@SHA256@', sum)
    .replaceAll('@DATE_MAIL@', `${weekday}, ${day} ${month} ${year} 00:00:00 +0000`)
    .replaceAll('@DATE_RPM@', `${weekday} ${month} ${day} ${year}`)
}

/** @param {string} file */
function sumOf(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

/** Runs a program in a folder. Throws with what it said when it fails. @param {string} cwd @param {string} program @param {readonly string[]} args @param {Record<string, string>} [env] */
function run(cwd, program, args, env = {}) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${error ?? stdout + stderr}`)
}
