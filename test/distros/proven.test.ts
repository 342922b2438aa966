import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { adapters } from '../../distros/index.ts'
import { PROJECT } from '../support/run.ts'

const HEAD = `# Boot loaders and initramfs generators

How each was proven, by the best that was had: \`booted\` (a real machine or an emulated one started with what was
written), \`real tool\` (the program itself took our files, or its own code ran on them), \`real files\` (what people have
on their machines was read and changed), \`documentation\` (its pages, or its code, were read). Written by
\`test/distros/proven.test.ts\` from the adapters themselves: \`npx vitest run test/distros/proven.test.ts -u\`.
`

const table = (head: string, all: typeof adapters.bootloaders): string =>
  [
    `| ${head} | how it was proven |`,
    '| --- | --- |',
    ...all.map(({ name, documentation, proven }) => `| [\`${name}\`](${documentation}) | ${proven} |`),
  ].join('\n')

it('docs/adapters.md says of each adapter what the adapter says', async () => {
  const page = `${HEAD}\n${table('boot loader', adapters.bootloaders)}\n\n${table('initramfs', adapters.initramfs)}\n`
  await expect(page).toMatchFileSnapshot('../../docs/adapters.md')
  for (const file of ['distributions.md', 'distributions.ja.md'])
    expect(readFileSync(`${PROJECT}docs/${file}`, 'utf8')).toContain('(adapters.md)')
})

describe('each says in one line how it was proven', () => {
  const all = [...adapters.bootloaders, ...adapters.initramfs]

  it.each(all.map(({ name, proven }) => [name, proven] as const))('%s', (_, proven) => {
    expect(proven).toMatch(/^(booted|real tool|real files|documentation): \S[^\n|]{8,110}$/)
  })

  it('what says that it was booted in the lab is what the lab boots', () => {
    const folder = `${PROJECT}test/lab`
    const texts = readdirSync(folder, { recursive: true })
      .map(String)
      .filter((path) => path.endsWith('.ts'))
      .map((path) => readFileSync(join(folder, path), 'utf8'))
    const booted = all.filter(({ proven }) => /^booted: .*in the lab/.test(proven))
    expect(booted.map(({ name }) => name).sort()).toEqual(['dracut', 'grub', 'initramfs-tools', 'systemd-boot', 'uki'])
    for (const { name } of booted)
      expect(
        texts.some((text) => text.includes(`'${name}'`) || text.includes(`${name}(`)),
        name,
      ).toBe(true)
  })
})
