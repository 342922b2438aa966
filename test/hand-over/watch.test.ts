// The watchdog, where nothing else gives the card back: libvirt is dead, its hook was killed, or the guest never came.
import { expect, it } from 'vitest'
import {
  audio,
  type CardMachine,
  cardMachine,
  driversOf,
  expectRight,
  gpu,
  guestUuid,
  opened,
  RECORD,
} from '../support/hand-over-kernel.ts'

const unit = 'units/vfio-scripts-hand-over@win11.service'

/** A machine whose guest has been given the card just now. */
function taken(): CardMachine {
  const machine = cardMachine()
  machine.write({ [unit]: 'inactive\n' })
  machine.run('take')
  machine.write({ [unit]: 'active\n' })
  return machine
}

/** Runs the watchdog; `lines`: shell that runs as time passes, with `now`. Returns how many seconds it took. */
function watched(machine: CardMachine, lines = ''): number {
  const from = Number.parseFloat(machine.text('proc/uptime'))
  machine.write({ tick: `now=\${now%.*}\n${lines}\nif [ "$now" -gt 1500 ]; then command kill -9 $$; fi\n` })
  expect(machine.run('watch')).toMatchObject({ code: 0, stdout: '' })
  return Number.parseFloat(machine.text('proc/uptime')) - from
}

function expectBack(machine: CardMachine): void {
  expect(driversOf(machine)).toEqual([`${gpu} amdgpu`, `${audio} snd_hda_intel`])
  expect(machine.text('units/gdm.service')).toBe('active\n')
  expect(machine.text(unit)).toBe('inactive\n')
  expect(machine.has(RECORD)).toBe(false)
  expectRight(machine)
}

const begins = (from: number, to: number): string =>
  `if [ $now -ge ${from} ] && [ $now -lt ${to} ]; then mkdir -p "$ROOT/proc/4000/fd"
  ln -sfn "$ROOT/dev/vfio/11" "$ROOT/proc/4000/fd/9"; else command rm -rf "$ROOT/proc/4000"; fi`

it('gives back after two minutes where the guest never came', () => {
  const machine = taken()
  const seconds = watched(machine)
  expect(seconds).toBeGreaterThanOrEqual(120)
  expect(seconds).toBeLessThan(140)
  expectBack(machine)
})

it('gives back 20 seconds after QEMU is gone', () => {
  const machine = taken()
  const now = Math.ceil(Number.parseFloat(machine.text('proc/uptime')))
  const seconds = watched(machine, begins(now + 60, now + 200))
  expect(seconds).toBeGreaterThanOrEqual(200 + 15)
  expect(seconds).toBeLessThan(200 + 40)
  expectBack(machine)
})

it('gives back where the unit stopped while the guest had the card', () => {
  const machine = taken()
  machine.write({ [unit]: 'inactive\n' })
  const now = Math.ceil(Number.parseFloat(machine.text('proc/uptime')))
  watched(machine, begins(now, now + 100))
  expectBack(machine)
})

it('waits while libvirt has the guest under another name, which has not opened the card yet', () => {
  const machine = taken()
  machine.write({ 'run/libvirt/qemu/win10.pid': '4100', ...opened(4100, 'qemu-system-x86', '/x') })
  machine.write({ 'proc/4100/cmdline': `qemu\0-name\0guest=win10\0-uuid\0${guestUuid}\0` })
  const end = Math.ceil(Number.parseFloat(machine.text('proc/uptime'))) + 150
  const seconds = watched(machine, `if [ $now -ge ${end} ]; then command rm -rf "$ROOT/proc/4100"; fi`)
  expect(seconds).toBeGreaterThanOrEqual(150)
  expectBack(machine)
})

it('does not take another process for the guest, which has its old number', () => {
  const machine = taken()
  machine.write({ 'run/libvirt/qemu/win11.pid': '4100\n', ...opened(4100, 'bash', '/x'), 'proc/4100/cmdline': 'bash' })
  expect(watched(machine)).toBeLessThan(140)
  expectBack(machine)
})

it('waits while the card is being taken', () => {
  const machine = taken()
  machine.write({ [unit]: 'activating\n' })
  const now = Math.ceil(Number.parseFloat(machine.text('proc/uptime')))
  const seconds = watched(
    machine,
    `if [ $now -ge ${now + 60} ] && [ ! -e "$ROOT/done" ]; then echo active >"$ROOT/${unit}"; echo >"$ROOT/done"; fi`,
  )
  expect(seconds).toBeGreaterThanOrEqual(170)
  expectBack(machine)
})

it('gives the next guest its two minutes, also where it watched the one before', () => {
  const machine = taken()
  const now = Math.ceil(Number.parseFloat(machine.text('proc/uptime')))
  const next = `if [ $now -ge ${now + 60} ] && [ ! -e "$ROOT/next" ]; then
    echo >"$ROOT/next"; sed -i "s/^begin.*/begin $now/" "$ROOT/${RECORD}"; fi`
  const seconds = watched(machine, `${begins(now, now + 50)}\n${next}`)
  expect(seconds).toBeGreaterThanOrEqual(60 + 115)
  expectBack(machine)
})

it('ends at once where nothing was taken', () => {
  expect(watched(cardMachine())).toBe(0)
})
