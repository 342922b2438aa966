import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scratchDir } from './machine.ts'
import { type RunOptions, runProgram } from './run.ts'

/**
 * What a shell program answers of each text, asked all in one shell: starting one from here for each costs a hundred
 * times as much. The program has the text as the file FOLDER/`name`, and FOLDER as "$1". One character is one byte.
 */
export function askOfAll(
  texts: Iterable<string>,
  program: string,
  options: RunOptions & { shell?: string; name?: string } = {},
): Map<string, string> {
  const { shell = 'sh', name = 'text', ...rest } = options
  const all = [...new Set(texts)]
  const folder = scratchDir('ask')
  const at = (index: number, file: string): string => join(folder, String(index), file)
  for (const [index, text] of all.entries()) {
    mkdirSync(at(index, ''))
    writeFileSync(at(index, name), text, 'latin1')
  }
  const asks = `for each in $(seq 0 ${all.length - 1}); do (set -- "${folder}/$each"; ${program}\n) >"${folder}/$each.answer" 2>/dev/null </dev/null; done; exit 0`
  const ran = runProgram(shell, ['-c', asks], rest)
  if (ran.code !== 0) throw new Error(`${shell} ended with ${ran.code}: ${ran.stderr}`)
  return new Map(all.map((text, index) => [text, readFileSync(join(folder, `${index}.answer`), 'latin1')]))
}

/** Answers by text; of one that was not asked of, an error. */
export function answered<T>(answers: ReadonlyMap<string, T>, text: string): T {
  const answer = answers.get(text)
  if (answer === undefined) throw new Error(`nobody was asked of ${JSON.stringify(text)}`)
  return answer
}
