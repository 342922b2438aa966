// What an emulated display shows: QEMU's monitor writes it as a PPM file.
import { readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LabError } from './shell.ts'

export interface Screen {
  width: number
  height: number
  /** The share of pixels that are not black, 0 to 1. */
  lit: number
  /** Three bytes a pixel. */
  pixels: Buffer
}

/** Asks the monitor behind this socket for a picture of a display. */
export async function readScreen(socket: string, folder: string, id: string): Promise<Screen> {
  const file = join(folder, `screen-${id}.ppm`)
  rmSync(file, { force: true })
  const monitor = connect(socket)
  await new Promise((resolve, reject) => monitor.once('connect', resolve).once('error', reject))
  monitor.write(`screendump ${file} ${id}\n`)
  for (let waited = 0; waited < 20_000; waited += 200) {
    await sleep(200)
    const screen = parsePpm(readIfThere(file))
    if (screen === undefined) continue
    monitor.destroy()
    return screen
  }
  monitor.destroy()
  throw new LabError(`QEMU's monitor wrote no picture of the display ${id}`)
}

function readIfThere(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch {
    return Buffer.alloc(0)
  }
}

/** A whole binary PPM; undefined while it is being written. Source: ppm(5). */
export function parsePpm(data: Buffer): Screen | undefined {
  const head = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(data.subarray(0, 64).toString('latin1'))
  if (head === null) return undefined
  const [width, height] = [Number(head[1]), Number(head[2])]
  const pixels = data.subarray(head[0].length)
  if (pixels.length < width * height * 3) return undefined
  let lit = 0
  for (let at = 0; at < width * height * 3; at += 3)
    if ((pixels[at] ?? 0) + (pixels[at + 1] ?? 0) + (pixels[at + 2] ?? 0) > 48) lit++
  return { width, height, lit: lit / (width * height), pixels }
}

/** The share of pixels that two pictures have alike; 0 for pictures of other sizes. */
export function alike(one: Screen, other: Screen): number {
  if (one.width !== other.width || one.height !== other.height) return 0
  const count = one.width * one.height
  let same = 0
  for (let at = 0; at < count * 3; at += 3)
    if (one.pixels.subarray(at, at + 3).equals(other.pixels.subarray(at, at + 3))) same++
  return same / count
}
