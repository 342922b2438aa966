import { appendFileSync, chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { beforeAll, expect, it } from 'vitest'
import { newFolder } from '../support/expect.ts'
import { machineDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, PROJECT, type Ran, runProgram, runScript } from '../support/run.ts'

const { bin, scripts, version } = JSON.parse(readFileSync(`${PROJECT}package.json`, 'utf8'))
const names = Object.keys(bin)
  .filter((name) => name !== 'vfio-scripts')
  .sort()
const archive = `vfio-scripts-${version}.tar.gz`
const deb = `vfio-scripts_${version}_all.deb`
const buildsDeb = has('dpkg-buildpackage') && has('dh')

let folder = ''

/** Makes a release as `npm run release` does. */
function makeRelease(): string {
  const made = join(newFolder(), 'release')
  expect(scripts.release).toBe('node build.mjs && node build.mjs release release')
  // A folder that is named from where one stands, as there.
  const ran = runProgram('node', ['build.mjs', 'release', relative(PROJECT, made)], { cwd: PROJECT })
  expect(ran).toMatchObject({ code: 0, stdout: '' })
  expect(ran.stderr).toMatch(buildsDeb ? /^$/ : /^release: no \.deb: .*\n$/)
  return made
}

needs('tar').describe('npm run release', () => {
  beforeAll(() => {
    folder = makeRelease()
  }, 120_000)

  /** Some of the release alone in a folder that everybody may write into. */
  function alone(...files: string[]): string {
    const other = newFolder()
    chmodSync(other, 0o777)
    for (const file of files) copyFileSync(join(folder, file), join(other, file))
    return other
  }

  /** What a package must have, below /usr. */
  const INSTALLED = names.flatMap((name) => [
    ...[`bin/${name}`, `share/vfio-scripts/${name}.mjs`, `share/man/man1/${name}.1`],
    `share/bash-completion/completions/${name}`,
  ])

  function expectInstalled(listing: string): void {
    const paths = listing.split('\n').map((line) => line.replace(/^.*?\busr\/|\.gz$/g, ''))
    for (const path of [...INSTALLED, 'share/man/man7/vfio-scripts.7']) expect(paths).toContain(path)
    // Nothing of a boot, and nothing of the tests.
    expect(listing).not.toMatch(/\b(etc|boot|var)\/|\/test\//)
  }

  it('is the single files, the file of all commands, the runbook, packages, and checksums that hold', () => {
    expect(readdirSync(folder).sort()).toEqual(
      [
        ...['SHA256SUMS', 'LICENSE', 'THIRD-PARTY-NOTICES', 'setup.md', 'completions', 'man'],
        ...[archive, 'PKGBUILD', 'vfio-scripts.spec', 'flake.nix', 'vfio-scripts.mjs'],
        ...names.map((name) => `${name}.mjs`),
        ...(buildsDeb ? [deb] : []),
      ].sort(),
    )
    const all = readdirSync(folder, { recursive: true }).map(String)
    const files = all.filter((file) => file !== 'SHA256SUMS' && statSync(join(folder, file)).isFile()).sort()
    const check = (dir: string): Ran => runProgram('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: dir })
    expect(check(folder)).toMatchObject({ code: 0, stdout: files.map((file) => `${file}: OK\n`).join('') })
    expect(runProgram(join(folder, 'bind-vfio.mjs'), ['--version']).stdout).toMatch(/^bind-vfio \d/)

    const other = alone('SHA256SUMS', 'bind-vfio.mjs')
    appendFileSync(join(other, 'bind-vfio.mjs'), '//\n')
    expect(check(other).stdout).toContain('bind-vfio.mjs: FAILED')
  })

  it('of the same sources is the same, byte for byte', { timeout: 120_000 }, () => {
    expect(readFileSync(join(makeRelease(), 'SHA256SUMS'), 'utf8')).toBe(
      readFileSync(join(folder, 'SHA256SUMS'), 'utf8'),
    )
  })

  it('holds nothing that is still to be filled in', () => {
    for (const file of ['PKGBUILD', 'vfio-scripts.spec', 'flake.nix'])
      expect(readFileSync(join(folder, file), 'utf8')).not.toMatch(/@[A-Z]/)
  })

  it('vfio-scripts.mjs is every command, in less than 900 kB', () => {
    const one = join(folder, 'vfio-scripts.mjs')
    expect(statSync(one).size).toBeLessThan(900_000)
    const all = (...args: string[]): Ran => runProgram('node', [one, ...args])
    const machine = ['--machine', machineDir('i9-14900k-vmd')]
    for (const [name, ...args] of [
      ['list-iommu', ...machine, '--gpu'],
      ['check-reset', ...machine, '--json'],
      ['check-host', ...machine],
      ['bind-vfio', ...machine, '02:00', '--iommu-pt'],
      ['override-same-id-gpu', ...machine],
      ['tune-host', '--hugepages', 'much'],
      ['gen-domain', ...machine, '--name', 'x', '--guest', 'linux', '--gpu', '02:00'],
    ] as [string, ...string[]][]) {
      expect(all(name, ...args), name).toEqual(runScript(name, args, { process: true }))
    }
    expect(all('--version').stdout).toBe(`vfio-scripts ${version}\n`)
    for (const name of names) expect(all('-h').stdout).toMatch(new RegExp(`^  ${name} +\\S`, 'm'))
    for (const args of [[], ['nosuch'], ['toString']]) {
      const ran = all(...args)
      expect(ran).toMatchObject({ code: 2, stdout: '' })
      expect(ran.stderr).toMatch(/^vfio-scripts: .*there is bind-vfio, .*tune-host\n$/)
    }
  })

  it('vfio-scripts.mjs is the command by whose name it is called', () => {
    const other = alone('vfio-scripts.mjs')
    copyFileSync(join(other, 'vfio-scripts.mjs'), join(other, 'list-iommu.mjs'))
    expect(runProgram('node', [join(other, 'list-iommu.mjs'), '--version']).stdout).toBe(`list-iommu ${version}\n`)
  })

  needs('dpkg-buildpackage and dh', buildsDeb).describe('the Debian package', () => {
    it('has all, and no script that would run when it is installed', () => {
      expectInstalled(runProgram('dpkg-deb', ['--contents', join(folder, deb)]).stdout.replace(/ -> .*/g, ''))
      const control = runProgram('dpkg-deb', ['--info', join(folder, deb)]).stdout
      expect(control).not.toMatch(/\b(pre|post)(inst|rm)\b/)
      expect(control).toMatch(/^ Depends: nodejs \(>= 18\)$/m)
    })

    needs('lintian').it('lintian has nothing to say', () => {
      expect(runProgram('lintian', ['--allow-root', join(folder, deb)])).toEqual({ code: 0, stdout: '', stderr: '' })
    })

    const debian = process.env.VFIO_PACKAGES === '1' && has('mmdebstrap') && process.getuid?.() === 0
    needs('VFIO_PACKAGES=1, root and mmdebstrap', debian).it(
      'is installed, used and purged in a fresh Debian',
      { timeout: 600_000 },
      () => {
        const root = join(newFolder(), 'debian')
        expect(runProgram('mmdebstrap', ['--variant=minbase', '--include=nodejs', 'bookworm', root], {}).code).toBe(0)
        copyFileSync(join(folder, deb), join(root, 'root', deb))
        const inside = (command: string): Ran => runProgram('chroot', [root, 'sh', '-c', command])
        const list = (): string => inside('find / -xdev -not -path "/var/*" -not -path "/root/*" | sort').stdout
        const before = list()
        expect(inside(`dpkg -i /root/${deb}`).code).toBe(0)
        for (const name of names) expect(inside(`${name} --version`).stdout).toBe(`${name} ${version}\n`)
        runProgram('cp', ['-a', machineDir('i9-14900k-vmd'), join(root, 'root/machine')])
        expect(inside('list-iommu --machine /root/machine --gpu').stdout).toContain('0000:02:00.0')
        expect(inside('dpkg --purge vfio-scripts').code).toBe(0)
        expect(list()).toBe(before)
        expect(existsSync(join(root, 'var/lib/vfio-scripts'))).toBe(false)
      },
    )
  })

  needs(
    'makepkg, bsdtar, fakeroot and root',
    ['makepkg', 'bsdtar', 'fakeroot'].every(has) && process.getuid?.() === 0,
  ).it('makepkg builds the PKGBUILD', () => {
    const other = alone('PKGBUILD', archive)
    const ran = runProgram('runuser', ['-u', 'nobody', '--', 'makepkg', '--nodeps'], {
      cwd: other,
      env: { HOME: other, PACMAN: 'true', PKGEXT: '.pkg.tar.gz' },
    })
    expect(ran.stdout + ran.stderr).toMatch(/Finished making: vfio-scripts/)
    const made = readdirSync(other).find((name) => name.endsWith('.pkg.tar.gz')) ?? ''
    expectInstalled(runProgram('bsdtar', ['-tf', join(other, made)]).stdout)
  })

  needs('rpmbuild').it('rpmbuild builds the spec', () => {
    const other = alone('vfio-scripts.spec', archive)
    const defined = [`_topdir ${other}/rpm`, `_sourcedir ${other}`].flatMap((one) => ['--define', one])
    expect(runProgram('rpmbuild', ['-bb', '--quiet', ...defined, join(other, 'vfio-scripts.spec')]).code).toBe(0)
    const made = join(other, `rpm/RPMS/noarch/vfio-scripts-${version}-1.noarch.rpm`)
    expectInstalled(runProgram('rpm', ['-qpl', '--nosignature', made]).stdout)
    expect(runProgram('rpm', ['-qp', '--scripts', '--nosignature', made]).stdout).toBe('')
  })

  needs('nix-instantiate').it('nix evaluates the flake', () => {
    const other = alone('flake.nix', archive)
    // As much of nixpkgs as the flake asks for.
    const nixpkgs = `let
    pkgs = { stdenvNoCC.mkDerivation = all: all; installShellFiles = "i"; nodejs = "node"; lib = { licenses.mit = "MIT"; platforms.linux = [ ]; }; };
    lib.genAttrs = names: make: builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
  in { inherit lib; legacyPackages = { x86_64-linux = pkgs; aarch64-linux = pkgs; }; }`
    const asked = `let all = ((import ${other}/flake.nix).outputs { self = { }; nixpkgs = ${nixpkgs}; }).packages;
    in map (one: builtins.pathExists one.default.src && one.default.version == "${version}") (builtins.attrValues all)`
    const ran = runProgram('nix-instantiate', ['--eval', '--strict', '-E', asked])
    expect(ran.stdout).toBe('[ true true ]\n')
  })
})
