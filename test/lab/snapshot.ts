import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { prepareFolder, ready, startConsole } from './guest.ts'
import { cached, type Images, type Say } from './images.ts'
import { type Machine, qemuArguments } from './machines.ts'
import { LabError, must } from './shell.ts'

/**
 * A qcow2 disk over `images.disk` that holds the machine as it is when its devices have their drivers; QEMU starts
 * from there with `-loadvm ready`. https://www.qemu.org/docs/master/system/images.html#vm-snapshots
 */
export async function snapshot(machine: Machine, images: Images, say: Say): Promise<string> {
  const argv = qemuArguments(machine)
  const recipe = [argv, images.folder, await must(['qemu-system-x86_64', '--version'])]
  const folder = await cached(`snapshot-${machine.iommu}`, recipe, say, async (part) => {
    prepareFolder(part)
    for (const name of ['vmlinuz', 'initrd']) symlinkSync(join(images.folder, name), join(part, name))
    const disk = join(part, 'disk')
    await must(['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', images.disk, disk])
    const socket = join(mkdtempSync(join(tmpdir(), 'vfio-lab-')), 'monitor') // a socket's name is short: unix(7)
    const guest = startConsole([...argv, '-monitor', `unix:${socket},server=on,wait=off`], part, join(part, 'console'))
    await guest.until(ready, 240, 'the boot')
    await sleep(1000) // until the guest waits for the next line
    await monitor(socket, ['savevm ready', 'quit'])
    rmSync(dirname(socket), { recursive: true })
    if ((await guest.ended) !== 0) throw new LabError('QEMU failed while it wrote the snapshot')
    if (!(await must(['qemu-img', 'snapshot', '-l', disk])).includes('ready'))
      throw new LabError('QEMU wrote no snapshot')
  })
  return join(folder, 'disk')
}

/** Gives commands to QEMU's monitor, each after the prompt. */
async function monitor(path: string, commands: readonly string[]): Promise<void> {
  const socket = connect(path)
  const left = [...commands]
  let heard = ''
  await new Promise<void>((resolve, reject) => {
    socket.setTimeout(60_000, () => reject(new LabError('the monitor of QEMU says nothing')))
    socket.on('error', reject)
    socket.on('close', () => resolve())
    socket.on('data', (data) => {
      heard += data.toString()
      if (!heard.endsWith('(qemu) ')) return
      if (/Error/.test(heard)) reject(new LabError(`the monitor of QEMU: ${heard}`))
      heard = ''
      const next = left.shift()
      if (next !== undefined) socket.write(`${next}\n`)
    })
  })
}
