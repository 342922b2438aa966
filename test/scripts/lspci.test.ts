import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { newFolder } from '../support/expect.ts'
import { loadMachine, machineDir, machineNames, writeMachine } from '../support/machine.ts'
import { needs, sampleOf } from '../support/needs.ts'
import { runProgram, runScript } from '../support/run.ts'
import { writeIn } from '../support/system.ts'

/** The real lspci, looking at a fake machine; what its pci.ids lacks it asks this machine's udev with `hwdb`. */
function lspci(dir: string, hwdb = false): string {
  return `lspci -A linux-sysfs -O hwdb.disable=${hwdb ? 0 : 1} -O sysfs.path='${dir}/sys/bus/pci' -i '${dir}/usr/share/misc/pci.ids'`
}

/** The loop of the NixOS guide; its `-k5` counts the parts of /sys/kernel/iommu_groups/N/devices/ADDRESS. */
function guideLoop(dir: string, options: string): string {
  return `cd '${dir}' && for d in $(find sys/kernel/iommu_groups/ -type l | LC_ALL=C sort -n -k4 -t/); do
    n=\${d#*/iommu_groups/*}; n=\${n%%/*}
    case \${d##*/} in *-*) continue;; esac
    printf 'IOMMU Group %s ' "$n"
    ${lspci(dir)} -nns "\${d##*/}" ${options}
  done`
}

const machines = machineNames()
const HWDB = '/usr/lib/udev/hwdb.bin'

needs('lspci').describe('beside the real lspci', () => {
  it.each(sampleOf(machines, 4))('%s: --format lspci prints what the loop of the guides prints', (name) => {
    const dir = machineDir(name)
    const loop = runProgram('bash', ['-c', guideLoop(dir, '')])
    expect(loop.stderr).toBe('')
    expect(runScript('list-iommu', ['--machine', dir, '--format', 'lspci']).stdout).toBe(loop.stdout)
  })

  needs("udev's hwdb.bin", existsSync(HWDB)).it.each(sampleOf(machines, 4))(
    '%s: what pci.ids lacks has the name that udev gives it',
    (name) => {
      const dir = newFolder()
      writeMachine(loadMachine(name), dir)
      writeIn(dir, 'usr/share/misc/pci.ids', '# names\n10de  Another name\n')
      mkdirSync(`${dir}/usr/lib/udev`, { recursive: true })
      copyFileSync(HWDB, dir + HWDB)
      const { stdout } = runProgram('bash', ['-c', `${lspci(dir, true)} -Dnn`])
      expect(stdout).toMatch(/Intel|AMD/)
      const ours = runScript('list-iommu', ['--machine', dir, '--format', 'lspci', '--domains']).stdout
      const named = new Map(ours.split('\n').map((line) => [/[0-9a-f]{4,}:\S+/.exec(line)?.[0], line]))
      for (const line of stdout.trim().split('\n')) {
        const own = named.get(line.replace(/ .*/, ''))
        // Functions of no group are not in the guides' listing.
        if (own !== undefined) expect(own.replace(/^IOMMU Group \d+ /, '')).toBe(line)
      }
    },
  )

  it('--domains prints addresses as lspci -D does', () => {
    const dir = machineDir('ivy-bridge-h77')
    const loop = runProgram('bash', ['-c', guideLoop(dir, '-D')])
    expect(loop.stdout).toContain('0000:01:00.0 VGA')
    expect(runScript('list-iommu', ['--machine', dir, '--format', 'lspci', '--domains']).stdout).toBe(loop.stdout)
  })

  it.each(machines)('%s: drivers are those of lspci -k', (name) => {
    const dir = machineDir(name)
    const drivers: Record<string, string> = {}
    let address = ''
    for (const line of runProgram('bash', ['-c', `${lspci(dir)} -Dnk`]).stdout.split('\n')) {
      address = /^[0-9a-f]{4,}:[0-9a-f:.]+/.exec(line)?.[0] ?? address
      const driver = /Kernel driver in use: (.*)/.exec(line)?.[1]
      if (driver !== undefined) drivers[address] = driver
    }
    const { groups, ungrouped } = JSON.parse(runScript('list-iommu', ['--machine', dir, '--json']).stdout)
    const devices = [...groups.flatMap((group: { devices: unknown[] }) => group.devices), ...ungrouped]
    const ours = devices.filter((device) => device.driver).map((device) => [device.address, device.driver])
    expect(Object.fromEntries(ours)).toEqual(drivers)
  })

  it.each(sampleOf(machines, 4))('%s: check-reset --format guide prints the [RESET] listing', (name) => {
    const dir = machineDir(name)
    const loop = `cd '${dir}' && for group in $(find sys/kernel/iommu_groups/ -maxdepth 1 -mindepth 1 -type d | sort -V); do
      ls "$group"/devices/ | grep -qv -- - || continue
      echo "IOMMU group $(basename "$group")"
      for device in $(ls -1 "$group"/devices/); do
        if [[ -e "$group"/devices/"$device"/reset ]]; then echo -n "[RESET]"; fi
        echo -n $'\\t'; ${lspci(dir)} -nns "$device"
      done
    done`
    const guide = runProgram('bash', ['-c', loop])
    expect(runScript('check-reset', ['--machine', dir, '--format', 'guide']).stdout).toBe(guide.stdout)
  })

  it.each(machines)('%s: MSI and MSI-X are those of lspci -vv', (name) => {
    const dir = machineDir(name)
    const theirs: Record<string, string> = {}
    let address = ''
    for (const line of runProgram('bash', ['-c', `${lspci(dir)} -Dvv`]).stdout.split('\n')) {
      address = /^[0-9a-f]{4,}:[0-9a-f:.]+/.exec(line)?.[0] ?? address
      const [, kind, sign] = /Capabilities: \[..\] (MSI|MSI-X): Enable([+-])/.exec(line) ?? []
      if (kind !== undefined) theirs[`${address} ${kind}`] = sign ?? ''
    }
    const { cards } = JSON.parse(runScript('check-reset', ['--machine', dir, '--json']).stdout)
    const ours: Record<string, string> = {}
    for (const { address, msi, msix } of cards.flatMap((card: { functions: unknown[] }) => card.functions)) {
      if (msi.supported) ours[`${address} MSI`] = msi.enabled ? '+' : '-'
      if (msix.supported) ours[`${address} MSI-X`] = msix.enabled ? '+' : '-'
    }
    const bridges = JSON.parse(runScript('list-iommu', ['--machine', dir, '--json']).stdout)
    const isBridge = new Set(
      [...bridges.groups.flatMap((group: { devices: unknown[] }) => group.devices), ...bridges.ungrouped]
        .filter((device) => device.bridge)
        .map((device) => device.address),
    )
    const endpoints = Object.entries(theirs).filter(([key]) => !isBridge.has(key.split(' ')[0]))
    expect(ours).toEqual(Object.fromEntries(endpoints))
  })
})
