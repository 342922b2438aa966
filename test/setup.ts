import { execFileSync } from 'node:child_process'

/** The tests run the built scripts: build them from the sources that are being tested. */
export function setup(): void {
  execFileSync(process.execPath, ['build.mjs'], { stdio: 'inherit' })
}
