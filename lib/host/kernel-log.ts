import type { Machine } from './machine.ts'

/** The path of the kernel log in a capture. */
export const LOG = '/var/log/dmesg'

/** The messages of the kernel since it was booted. */
export interface KernelLog {
  /** The lines as dmesg(1) prints them; `null` when the log may not be read, or was not captured. */
  log: string | null
  /** The reason why there is no log. */
  logMissing: string
}

/**
 * Reads the log of the running kernel, or that of a capture. Another root's /var/log is of some boot, and so perhaps is
 * this one's.
 */
export function readKernelLog({ reader, running, programOutput }: Machine): KernelLog {
  if (!running)
    return { log: reader.optionalBytes(LOG)?.toString('utf8') ?? null, logMissing: 'no kernel log was captured' }
  const records = reader.optionalBytes('/dev/kmsg')
  // The remark that all unread files get would say the same again.
  const denied = reader.denied.delete('/dev/kmsg')
  const isRoot = /^Uid:\s+\d+\s+0\b/m.test(reader.optionalText('/proc/self/status') ?? '')
  const logMissing = denied
    ? `the kernel log may not be read: ${isRoot ? 'here not even by root, as in a container' : 'try as root'}`
    : `the kernel log is not there (/dev/kmsg${records === undefined ? '' : ' is empty'})`
  if (records === undefined || records.length === 0) return { log: null, logMissing }
  const log = renderKmsg(records.toString('latin1'))
  programOutput.set(LOG, log)
  return { log, logMissing }
}

/**
 * Renders records as lines: `6,339,5140900,-;NET: Registered PF_NETLINK` → `[    5.140900] NET: Registered PF_NETLINK`.
 * Lines that start with a space are properties; bytes that are not printable, and `\`, are written as `\x1b`.
 */
function renderKmsg(records: string): string {
  return [...records.matchAll(/^\d+,\d+,(\d+),[^;]*;(.*)$/gm)]
    .map(([, time, text = '']) => {
      const seconds = (Number(time) / 1e6).toFixed(6).padStart(12)
      const plain = text.replace(/\\x([0-9a-f]{2})/g, (_, code: string) =>
        String.fromCharCode(Number.parseInt(code, 16)),
      )
      return `[${seconds}] ${plain}\n`
    })
    .join('')
}
