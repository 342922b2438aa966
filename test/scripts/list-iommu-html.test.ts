import { writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { loadMachine, machineDir, scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { runProgram, runScript } from '../support/run.ts'

const page = (machine: string, ...args: string[]): string =>
  runScript('list-iommu', ['--machine', machineDir(machine), '--format', 'html', ...args]).stdout

describe('list-iommu --format html', () => {
  const html = page('i9-14900k-vmd')

  it('is one file that loads nothing from anywhere', () => {
    expect(html).toMatch(/^<!DOCTYPE html>/)
    expect(html).not.toMatch(/https?:|\b(?:src|href)=|@import|url\(/)
    expect(html).toContain("default-src 'none'")
  })

  it('has every device in its group, with driver and reset', () => {
    for (const address of Object.keys(loadMachine('i9-14900k-vmd').devices)) expect(html).toContain(`>${address}</td>`)
    const group = html.split('<section ').find((part) => part.includes('<h2>Group 14 ')) ?? ''
    expect(group).toMatch(/0000:02:00\.0<.*Quadro P620.*10de:1cb6.*class="pill bound">vfio-pci<.*>bus</s)
  })

  it('says first what stands out: the screen of the host, what is bound, what does not come back', () => {
    const first = html.slice(0, html.indexOf('<section class="group">'))
    expect(first).toMatch(/boot VGA<\/span> 0000:01:00\.0 has the screen of the host/)
    expect(first).toMatch(/bound<\/span> 0000:02:00\.0 is held for guests by vfio-pci/)
    expect(page('x570-navi10')).toMatch(/reset quirk<\/span> 0b:00/)
    expect(page('kernel-off')).toMatch(/IOMMU<\/span> .*intel_iommu=on|IOMMU<\/span> /)
  })

  it('of some devices is of these', () => {
    const some = page('i9-14900k-vmd', '--gpu')
    expect(some).toContain('0000:02:00.0')
    expect(some).not.toContain('0000:00:1f.6')
  })

  needs('chromium').it('in a browser shows only what has all words that are typed', () => {
    const search = (words: string): string => {
      const file = `${scratchDir('page')}/page.html`
      const type = `document.getElementById('search').value=${JSON.stringify(words)};document.getElementById('search').dispatchEvent(new Event('input'))`
      writeFileSync(file, html.replace('</body>', `<script>${type}</script></body>`))
      const args = ['--headless', '--no-sandbox', '--disable-gpu', '--dump-dom', `file://${file}`]
      return runProgram('chromium', args).stdout
    }
    const rows = (dom: string): string[] =>
      [...dom.matchAll(/<tr class="[^>]*data-words="group:\d+ (\S+)[^>]*>/g)]
        .filter(([row]) => !row.includes('hidden'))
        .map(([, address = '']) => address)
    expect(rows(search('')).length).toBe(Object.keys(loadMachine('i9-14900k-vmd').devices).length)
    expect(rows(search('NVIDIA audio'))).toEqual(['0000:01:00.1', '0000:02:00.1'])
    expect(rows(search('group:14'))).toEqual(['0000:02:00.0', '0000:02:00.1'])
    expect(search('nosuch')).toMatch(/<p id="none">/)
  })
})
