// docs/virtual-functions.md: its commands run, one after another, on the server with an X710.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { blocksOf, commandsOf, sandbox } from '../support/readme.ts'
import { PROJECT, runScript } from '../support/run.ts'
import { NIC, sriovServer } from '../support/sriov.ts'

const text = readFileSync(`${PROJECT}docs/virtual-functions.md`, 'utf8')
const SCRIPTS = readdirSync(`${PROJECT}scripts`).flatMap((name) => /^(.+)\.mts$/.exec(name)?.[1] ?? [])

it('its commands do what it says', () => {
  // Debian 12, whose libvirt's schemas are where this is tested.
  const libvirt = 'usr/lib/x86_64-linux-gnu/libvirt.so.0.9000.0'
  const dir = sriovServer({ [libvirt]: '' })
  const net = join(dir, NIC, 'net/ens1')
  mkdirSync(net, { recursive: true })
  mkdirSync(join(dir, 'sys/class/net'), { recursive: true })
  writeFileSync(join(net, 'address'), '3c:fd:fe:00:00:01\n')
  writeFileSync(join(net, 'flags'), '0x1003\n')
  const run = sandbox(SCRIPTS)
  const commands = blocksOf(text).flatMap(commandsOf)
  expect(commands.length).toBeGreaterThan(8)
  const said = commands.map((command) => {
    const { code, stdout, stderr } = run(command, dir)
    // 1 is an answer: a plan that was not applied.
    expect(code, `${command}\n${stdout}${stderr}`).toBeLessThan(2)
    expect(stderr, command).not.toMatch(/not found|No such file|no such device/)
    return stdout + stderr
  })
  expect(said.join('\n')).toMatch(/an interface with MAC address 52:54:00:12:34:56, VLAN 100, as tune-host has it/)
  expect(run('cat web.xml', dir).stdout).toMatch(/<interface type='hostdev'[\s\S]*<tag id='100'\/>/)
  // The guest has its function already.
  expect(said[commands.findIndex((command) => command.includes('--diff'))]).not.toMatch(/^[+-]/m)
})

it('the options of tune-host that it names are all that it has for virtual functions', () => {
  const help = runScript('tune-host', ['--help']).stdout
  const options = [...help.matchAll(/--(vfs?(?:-[a-z]+)*)/g)].map(([, name]) => `--${name}`)
  expect(options.length).toBeGreaterThan(4)
  expect(options.filter((option) => !text.includes(option))).toEqual([])
})
