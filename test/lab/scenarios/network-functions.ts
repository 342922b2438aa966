import { type Drivers, driversOf, expectCode, expectDrivers, expectNeverProbed, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { grub, intel, type Machine } from '../machines.ts'
import type { Disk, Lab, Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { listing } from './bind-vfio.ts'
import { emulation, libvirtPrograms } from './gen-domain.ts'
import { systemdDisk } from './tune-host.ts'
import { unitEnded, unitOf } from './virtual-functions.ts'

// Virtual functions of a network card, made by its driver: QEMU's igb, with Debian's igb and igbvf.

export const machine: Machine = { ...grub(intel, 'bios'), cpus: 2, memory: 2048, networkFunctions: true }
const card = '0000:04:00.0'
const functions = [0, 2, 4, 6].map((fn) => `0000:04:10.${fn}`)
const allOn = (driver: string) => Object.fromEntries(functions.map((address) => [address, driver]))
const wanted = '--vfs 04:00.0=4 --vf-mac 0=52:54:00:aa:00:01 --vf-vlan 0=100'
export const functionsOfCard = 'ip link show enp4s0 | grep " vf "'
const reload = 'modprobe -r igb && modprobe igb'
const settled = unitEnded(card)

/** The functions on a driver, the card as it was, and what it keeps for each of them. */
async function expectFunctions(guest: Guest, driver: string): Promise<{ drivers: Drivers; kept: string }> {
  const looked = await guest.run(`${settled}; systemctl status ${unitOf(card)} --no-pager; ${functionsOfCard}`, {
    seconds: 300,
  })
  expectCode('the card', looked, 0)
  const drivers = await driversOf(guest)
  expectDrivers(drivers, { ...allOn(driver), [card]: 'igb', '0000:05:00.0': 'e1000e' })
  expectNeverProbed(drivers, card, 'vfio-pci')
  return { drivers, kept: looked.stdout }
}

/** As they were asked for, and on vfio-pci: the host's own driver never had them. */
export async function expectMade(guest: Guest): Promise<Drivers> {
  const { drivers, kept } = await expectFunctions(guest, 'vfio-pci')
  if (!/vf 0 .*52:54:00:aa:00:01 .*vlan 100/.test(kept)) throw new LabError(`the first function: ${kept}`)
  const others = /^ +vf [1-3] .*link\/ether (02:\S+)(?!.*vlan)/gm
  const macs = [...kept.matchAll(others)].map(([, mac]) => mac)
  if (new Set(macs).size !== 3) throw new LabError(`three addresses of our own are expected: ${kept}`)
  // The kernel logs a driver that it then keeps off; one that has a function says so itself.
  const taken = /^.*\bigbvf 0000:04:10\.\d: .*$/m.exec(drivers.log)
  if (taken !== null) throw new LabError(`a function was on igbvf before: ${taken[0]}`)
  return drivers
}

/** What the kernel log says of the card's own driver: once for each time that it was loaded. */
function expectProbedByIgb({ log }: Drivers, times: number): void {
  const found = log.split('\n').filter((line) => line.includes(`probing driver igb with device ${card}`))
  if (found.length !== times) throw new LabError(`igb was given the card ${found.length} times, not ${times}`)
}

/** A guest with a function of the card; its address and VLAN are other ones than tune-host gives, so that both are seen. */
export const defined = (memory: string, change: string) => `set -e
gen-domain --name vm --guest linux --vf 04:00.0 --memory ${memory} --network none --headless --firmware bios >vm.xml
grep -A 9 "<interface type='hostdev'" vm.xml
sed ${emulation} ${change} vm.xml >emulated.xml
for i in $(seq 90); do virsh uri >/dev/null 2>&1 && break; sleep 1; done
virsh define emulated.xml`
const others = `-e 's/52:54:00:aa:00:01/52:54:00:bb:00:02/' -e "s/<tag id='100'/<tag id='200'/"`

const held = `ls -l /proc/$(cat /run/libvirt/qemu/vm.pid)/fd | grep -o '/dev/vfio/[0-9]*$'; virsh domstate vm; ip link show enp4s0`

async function expectGuestHasOne(guest: Guest, seen: string): Promise<void> {
  const run = (script: string) => guest.run(script, { seconds: 600 })
  const kept = /hostdev[\s\S]*52:54:00:aa:00:01[\s\S]*slot='0x10' function='0x0'[\s\S]*<tag id='100'/
  expectCode('gen-domain --vf', await run(defined('128M', others)), 0, kept)
  expectCode('virsh start', await run('virsh start vm'), 0)
  const its = /^\/dev\/vfio\/\d+\nrunning\n[\s\S]*vf 0 .*52:54:00:bb:00:02 .*vlan 200/
  expectCode('what the guest has', await run(held), 0, its)
  const refused = await run('tune-host --undo --apply')
  expectCode('tune-host --undo', refused, 2, /0000:04:10\.0 → \/dev\/vfio\/\d+ is open in .*are not freed/)
  expectCode('virsh destroy', await run('virsh destroy vm && virsh undefine vm'), 0)
  expectSame('the functions after it', (await run(functionsOfCard)).stdout, seen)
  expectDrivers(await driversOf(guest), { ...allOn('vfio-pci'), [card]: 'igb' })
}

async function undone(guest: Guest): Promise<void> {
  const undo = `tune-host --undo --apply >out/undo && cat /sys/bus/pci/devices/${card}/sriov_numvfs`
  expectCode('tune-host --undo', await guest.run(undo, { seconds: 300 }), 0, /^0\n/)
  const drivers = await driversOf(guest)
  expectDrivers(drivers, { [card]: 'igb' })
  const left = functions.filter((address) => drivers.driver.has(address))
  if (left.length > 0) throw new LabError(`still there: ${left.join(' ')}`)
}

/** libvirt makes folders of its own when it is first started. */
const withoutLibvirt = (text: string) => text.replace(/^.*libvirt.*\n/gm, '')

/** A host on which tune-host was applied, its disk, and what was in /etc before. */
export async function withFunctions(lab: Lab, on: Machine): Promise<{ host: Guest; disk: Disk; before: string }> {
  const { disk, before } = await systemdDisk(lab, libvirtPrograms)
  const host = await lab.start(on, disk)
  await lab.step('made at once, where they were predicted', async () => {
    const applied = await host.run(`tune-host ${wanted} --apply`, { seconds: 300 })
    expectCode('tune-host --vfs', applied, 0, /Predicted: 0000:04:10\.0 to 0000:04:10\.6/)
    const again = await host.run(`tune-host ${wanted} --apply`, { seconds: 300 })
    expectCode('a second time', again, 0, /^Nothing to do/m)
    expectProbedByIgb(await expectMade(host), 1)
  })
  return { host, disk, before }
}

export const networkFunctions: Scenario = {
  name: 'network-functions',
  about: 'virtual functions of a network card (igb): at once, after a reload, after a boot; a guest has one; undo',
  async run(lab) {
    const { host: guest, disk, before } = await withFunctions(lab, machine)
    const seen = (await guest.run(functionsOfCard)).stdout
    await lab.step('there again after a reload of its driver', async () => {
      expectCode('the reload', await guest.run(`${reload}; ${settled}; sleep 3`, { seconds: 300 }), 0)
      expectProbedByIgb(await expectMade(guest), 2)
    })
    await lab.step('--status is 0', async () => {
      const status = await guest.run('tune-host --status; list-iommu --sriov', { seconds: 300 })
      expectCode('tune-host --status', status, 0, /^tune-host: in-force[\s\S]*04:00\.0 .*: 4 of 7 virtual functions/m)
    })
    await guest.reboot()
    await lab.step('the same after the boot; the card never left its driver', async () => {
      expectProbedByIgb(await expectMade(guest), 1)
      expectSame('the functions', (await guest.run(functionsOfCard)).stdout, seen)
    })
    await lab.step('a guest has one, with its address and VLAN; given back as it was', () =>
      expectGuestHasOne(guest, seen),
    )
    await lab.step('undone', () => undone(guest))
    await guest.end()
    const after = (await disk.apply('/etc listed', listing)).stdout
    expectSame('/etc after the undo', withoutLibvirt(after), withoutLibvirt(before))
  },
}

const forHost = `${wanted} --vfs-driver host --vf-trust 1=on --vf-spoof-check 0=off`

/** The interface of each function: what igbvf found there. */
const interfaces = `for f in ${functions.join(' ')}; do grep -H . /sys/bus/pci/devices/$f/net/*/address; done`

/**
 * The functions on igbvf, what was asked of each, and the address that the card keeps for it as its own. Returns them.
 */
async function expectMadeForHost(lab: Lab, guest: Guest): Promise<string> {
  await expectFunctions(guest, 'igbvf')
  const { stdout: seen } = await guest.run(`${functionsOfCard}; ${interfaces}`)
  lab.note(seen.trim().replaceAll(/\s*\n\s*/g, ' | '))
  const asked =
    /vf 0 .*52:54:00:aa:00:01 .*vlan 100, spoof checking off, .* trust off *\n *vf 1 .*ff, spoof checking on, .* trust on *\n/
  if (!asked.test(seen)) throw new LabError(`what was asked for: ${seen}`)
  const all = (pattern: RegExp): string => [...seen.matchAll(pattern)].map(([, mac]) => mac).join(' ')
  expectSame('their own addresses', all(/\/address:(\S+)$/gm), all(/^ +vf \d .*link\/ether (\S+)/gm))
  return seen
}

export const networkFunctionsOfHost: Scenario = {
  name: 'network-functions-host',
  about: 'functions for the host: on igbvf with their addresses at once, after a reload, after a boot; undo',
  slow: true,
  async run(lab) {
    const { disk, before } = await systemdDisk(lab)
    const guest = await lab.start(machine, disk)
    const tune = (words: string, code: number, says: RegExp) =>
      lab.step(`tune-host ${words}`, async () =>
        expectCode('tune-host', await guest.run(`tune-host ${words}`, { seconds: 300 }), code, says),
      )
    await tune(forHost, 1, /A unit makes them, and no \.link file: .* with igb that is too late/)
    await tune(`${forHost} --apply`, 0, /Predicted: 0000:04:10\.0 to 0000:04:10\.6/)
    await tune(`${forHost} --apply`, 0, /^Nothing to do/m)
    const seen = await lab.step('made at once', () => expectMadeForHost(lab, guest))
    await lab.step('the same after a reload of its driver', async () => {
      expectCode('the reload', await guest.run(`${reload}; ${settled}; sleep 3`, { seconds: 300 }), 0)
      expectSame('the functions', await expectMadeForHost(lab, guest), seen)
    })
    await guest.reboot()
    await lab.step('the same after a boot', async () =>
      expectSame('the functions', await expectMadeForHost(lab, guest), seen),
    )
    await tune('--status', 0, /^tune-host: in-force/m)
    await lab.step('undone', () => undone(guest))
    await guest.end()
    expectSame('/etc after the undo', (await disk.apply('/etc listed', listing)).stdout, before)
  },
}
