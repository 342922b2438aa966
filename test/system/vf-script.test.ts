import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { VF_SCRIPT } from '../../lib/host/wanted-functions.ts'
import { VF_SCRIPT_HEAD, VF_UNIT, vfRecord } from '../../lib/system/vf-script.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { type Ran, runProgram } from '../support/run.ts'

const CARD = '0000:3b:00.0'

/** A tree with a card that has `now` functions, and the program for `count` of them on it. */
function tree(now: number, count: number, driver: string | null = 'i40e', change = (text: string): string => text) {
  const dir = scratchDir('vf-script')
  const pci = join(dir, 'pci')
  const at = join(pci, 'devices', CARD)
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  put(join(at, 'vendor'), '0x8086\n')
  put(join(at, 'device'), '0x1572\n')
  put(join(at, 'sriov_numvfs'), `${now}\n`)
  put(join(at, 'sriov_drivers_autoprobe'), '1\n')
  put(join(pci, 'drivers_probe'), '')
  const drive = (address: string, name: string): void => {
    mkdirSync(join(pci, 'drivers', name), { recursive: true })
    symlinkSync(`../../drivers/${name}`, join(pci, 'devices', address, 'driver'))
  }
  if (driver !== null) drive(CARD, driver)
  const functions = Array.from({ length: now }, (_, index) => `0000:3b:02.${index}`)
  for (const [index, one] of functions.entries()) {
    mkdirSync(join(pci, 'devices', one), { recursive: true })
    symlinkSync(`../${one}`, join(at, `virtfn${index}`))
  }
  const device = { address: CARD, vendor: { id: '8086' }, device: { id: '1572' }, subsystem: null, path: at }
  const line = vfRecord(device as never, { count, driver: 'vfio-pci', words: [] })
  const program = join(dir, 'program')
  const commands = join(dir, 'bin')
  put(join(commands, 'modprobe'), '#!/bin/sh\n')
  put(join(commands, 'dmesg'), '#!/bin/sh\necho "i40e 0000:3b:00.0: not enough MMIO resources for SR-IOV"\n')
  for (const name of ['modprobe', 'dmesg']) runProgram('chmod', ['755', join(commands, name)])
  writeFileSync(
    program,
    change(`${VF_SCRIPT_HEAD}${line}\n`.replaceAll(VF_SCRIPT, program).replace('pci=/sys/bus/pci', `pci=${pci}`)),
  )
  const run = (shell = 'sh'): Ran => runProgram('env', [`PATH=${commands}:${process.env.PATH}`, shell, program, CARD])
  const read = (name: string): string => readFileSync(join(at, name), 'utf8').trim()
  return { at, pci, put, drive, functions, run, read }
}

describe('the program that makes virtual functions', { concurrent: true }, () => {
  it.each(['sh', 'bash'])('makes them by %s, with autoprobe off meanwhile and restored', (shell) => {
    const { run, read } = tree(0, 4)
    expect(run(shell)).toMatchObject({ code: 0, stderr: '' })
    expect([read('sriov_numvfs'), read('sriov_drivers_autoprobe')]).toEqual(['4', '1'])
  })

  it('changes nothing where they are there and on vfio-pci already', () => {
    const { run, read, drive, functions } = tree(2, 2)
    for (const one of functions) drive(one, 'vfio-pci')
    expect(run()).toMatchObject({ code: 0, stderr: '' })
    expect(read('sriov_numvfs')).toBe('2')
  })

  it('leaves one that the host has, and says so', () => {
    const { run, drive } = tree(2, 2)
    drive('0000:3b:02.0', 'iavf')
    drive('0000:3b:02.1', 'vfio-pci')
    expect(run().stderr).toMatch(/0000:3b:02\.0 is on iavf, not on vfio-pci/)
  })

  it.each<[string, (at: ReturnType<typeof tree>) => void, RegExp]>([
    ['up', ({ put, pci }) => put(join(pci, 'devices/0000:3b:02.1/net/ens1v1/flags'), '0x1003\n'), /ens1v1 is up/],
    ['unseen', () => undefined, /the driver iavf has it/],
  ])('keeps the number while an interface is %s', (_, change, says) => {
    const one = tree(2, 4)
    one.drive('0000:3b:02.1', 'iavf')
    change(one)
    const ran = one.run()
    expect(ran.stderr).toMatch(says)
    expect(ran.stderr).toMatch(/it has 2 virtual functions, not 4; 0000:3b:02\.1 is in use .*nothing is changed/)
    expect([ran.code, one.read('sriov_numvfs')]).toEqual([1, '2'])
  })

  it.each<[string, string | null, RegExp]>([
    ['no driver', null, /it has no driver, and only its driver/],
    ['vfio-pci', 'vfio-pci', /it is on vfio-pci/],
  ])('makes none of a card on %s', (_, driver, says) => {
    const { run, read } = tree(0, 4, driver)
    expect(run()).toMatchObject({ code: 1, stderr: expect.stringMatching(says) as string })
    expect(read('sriov_numvfs')).toBe('0')
  })

  it('makes none of another card at that address, or where SR-IOV is off now', () => {
    const other = tree(0, 4)
    other.put(join(other.at, 'device'), '0x10fb\n')
    expect(other.run().stderr).toMatch(/no virtual functions are made: it is 8086 10fb .*, not 8086 1572/)
    expect(other.read('sriov_numvfs')).toBe('0')
    const off = tree(0, 4)
    rmSync(join(off.at, 'sriov_numvfs'))
    expect(off.run().stderr).toMatch(/no SR-IOV now; see the firmware setup/)
  })

  it('fails for a card that vanished, before or meanwhile', () => {
    const gone = tree(0, 4)
    rmSync(gone.at, { recursive: true })
    expect(gone.run()).toMatchObject({ code: 1, stderr: expect.stringMatching(/0000:3b:00\.0: not there/) as string })
    const going = tree(0, 4, 'i40e', (text) =>
      text.replace('  if ! echo "$count" >', '  rm -r "$at"\n  if ! echo "$count" >'),
    )
    const ran = going.run()
    expect(ran).toMatchObject({ code: 1, stderr: expect.stringMatching(/i40e makes no 4 virtual functions/) as string })
  })

  // As Linux 5.13 and later say it, and as older ones do.
  it.each([
    'driver does not support SR-IOV configuration via sysfs',
    'Driver does not support SRIOV configuration via sysfs',
  ])('says that the driver cannot: %s', (said) => {
    const { run } = tree(0, 4, 'i40e', (text) =>
      text
        .replace('"$count" >"$at/sriov_numvfs"', '"$count" >/dev/full')
        .replace('$(dmesg |', `$(echo 'i40e ${CARD}: ${said}' |`),
    )
    expect(run()).toMatchObject({ code: 1, stderr: expect.stringMatching(/i40e cannot make them this way/) as string })
  })

  it('says what helps where there is too little memory space, and restores autoprobe', () => {
    const { run, read } = tree(0, 4, 'i40e', (text) =>
      text.replace('"$count" >"$at/sriov_numvfs"', '"$count" >/dev/full'),
    )
    const ran = run()
    expect(ran.stderr).toMatch(/i40e makes no 4 virtual functions\. .*not enough MMIO resources/)
    expect(ran.stderr).toMatch(/switch on Above 4G Decoding and SR-IOV in the firmware setup, or boot with pci=realloc/)
    expect([ran.code, read('sriov_numvfs'), read('sriov_drivers_autoprobe')]).toEqual([1, '0', '1'])
  })
})

needs('systemd-analyze').it('systemd takes the unit', () => {
  const path = join(scratchDir('vf-unit'), 'vfio-scripts-virtual-functions@.service')
  writeFileSync(path, VF_UNIT.replace(VF_SCRIPT, '/bin/true'))
  const { code, stdout, stderr } = runProgram('systemd-analyze', ['verify', path])
  expect(`${stdout}${stderr}`).not.toMatch(/vfio-scripts|Unknown/)
  expect(code).toBe(0)
})
