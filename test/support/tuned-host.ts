// A host of eight CPUs and two NUMA nodes in a folder, on which the program of hand-over tunes for running guests.
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { handOverFiles } from '../../lib/hand-over/hook-files.ts'
import { newFolder } from './expect.ts'
import { type Ran, runProgram } from './run.ts'
import { replaceIn } from './system.ts'

export interface TunedHost {
  root: string
  write(files: Readonly<Record<string, string | null>>): void
  text(path: string): string
  /** Runs `tune` or `untune` for a guest. */
  run(verb: 'tune' | 'untune' | 'set_cards', guest: string, shell?: readonly string[], killAt?: number): Ran
  /** The host as it is: CPUs of slices, interrupts, pages, clocks, threads. */
  state(): string
}

/** A guest of libvirt with its pinning, and what it wants while it runs. */
export function wanting(name: string, cpus: readonly number[], lines: readonly string[]): Record<string, string> {
  const id = `c0ffee00-0000-4000-8000-${name.length.toString().padStart(12, '0')}`
  const pins = cpus.map((cpu, index) => `    <vcpupin vcpu='${index}' cpuset='${cpu}'/>\n`).join('')
  return {
    [`etc/libvirt/qemu/${name}.xml`]: `<domain>\n  <uuid>${id}</uuid>\n  <cputune>\n${pins}    <emulatorpin cpuset='0'/>\n  </cputune>\n</domain>\n`,
    [`while/${name}`]: `uuid ${id}\n${lines.join('\n')}\n`,
  }
}

const policy = (cpu: number): Record<string, string> => {
  const at = `sys/devices/system/cpu/cpufreq/policy${cpu}`
  return {
    [`${at}/affected_cpus`]: `${cpu}\n`,
    [`${at}/scaling_governor`]: 'schedutil\n',
    [`${at}/energy_performance_preference`]: 'balance_performance\n',
  }
}

const interrupts = `            CPU0       CPU1
   1:          9          0   IR-IO-APIC    1-edge      i8042
  40:          0          0   IR-PCI-MSI 524288-edge      nvme0q1
`

/** What the kernel and systemd do with what is written; a page more than $ROOT/most is not to be had. */
const KERNEL = `
timeout() { shift && "$@"; }
flock() { :; }
step() {
  read -r count_of_steps <"$ROOT/steps"
  echo $((count_of_steps + 1)) >"$ROOT/steps"
  [ "$((count_of_steps + 1))" != "$KILL_AT" ] || kill -9 $$
}
note() { echo "$*" >>"$ROOT/record"; }
say() { echo "$*" >&2; }
fail() { echo "$*" >&2; alone untune; exit 1; }
taskset() { step; sed -i "s/^Cpus_allowed_list:.*/Cpus_allowed_list:\t$3/" "$ROOT/proc/$4/status"; }
systemctl() {
  step
  case "$*" in
    'show --property=AllowedCPUs --value '*) cat "$ROOT/slices/$4" ;;
    'set-property --runtime '*)
      echo "\${4#AllowedCPUs=}" >"$ROOT/slices/$3"
      mkdir -p "$ROOT/run/systemd/system.control/$3.d"
      echo >"$ROOT/run/systemd/system.control/$3.d/50-AllowedCPUs.conf"
      ;;
    'show --property=ActiveState '*) echo active ;;
    *) echo "$*" >>"$ROOT/systemctl" ;;
  esac
}
put() {
  step
  case $2 in
    */irq/40/*) return 1 ;;
    */nr_hugepages)
      read -r most <"$ROOT/most"
      if [ "$1" -gt "$most" ]; then echo "$most" >"$2"; else echo "$1" >"$2"; fi
      ;;
    */drop_caches) if [ -e "$ROOT/cached" ]; then cat "$ROOT/cached" >"$ROOT/most"; fi ;;
    */compact_memory) ;;
    *) [ -e "$2" ] && echo "$1" >"$2" ;;
  esac
}
`

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath ?? one.path, one.name))
    .sort()
}

export function tunedHost(): TunedHost {
  const root = realpathSync(newFolder())
  const write: TunedHost['write'] = (files) => replaceIn(root, files)
  const parts = handOverFiles().flatMap(({ path, content }) =>
    /-(facts|steps|cpus|tuning)$/.test(path) ? [content] : [],
  )
  const pages = 'hugepages/hugepages-2048kB/nr_hugepages'
  write({
    program: `${parts.join('\n')}
sys=$ROOT/sys proc=$ROOT/proc dev=$ROOT/dev run=$ROOT/run etc=$ROOT/etc
tuned=$run/vfio-scripts/while-running
wants=$tuned/wants was=$tuned/was
${KERNEL}
mkdir -p "$run/vfio-scripts"
name=$2 conf=/dev/null tuning=$ROOT/while/$2 state=$ROOT/state
alone "$1"
`,
    ...{ most: '8192\n', 'proc/uptime': '1.0 0\n', 'sys/devices/system/cpu/online': '0-7\n' },
    ...Object.fromEntries(['init.scope', 'system.slice', 'user.slice'].map((one) => [`slices/${one}`, '\n'])),
    'sys/devices/virtual/workqueue/cpumask': 'ff\n',
    'proc/2/status': 'Name:\tkthreadd\nPPid:\t0\nCpus_allowed_list:\t0-7\n',
    'proc/31/status': 'Name:\tkcompactd0\nPPid:\t2\nCpus_allowed_list:\t0-7\n',
    'proc/32/status': 'Name:\tksoftirqd/3\nPPid:\t2\nCpus_allowed_list:\t3\n',
    'proc/900/status': 'Name:\tbash\nPPid:\t1\nCpus_allowed_list:\t0-7\n',
    'proc/interrupts': interrupts,
    'proc/irq/default_smp_affinity': 'ff\n',
    'proc/irq/1/smp_affinity_list': '0-7\n',
    'proc/irq/40/smp_affinity_list': '3\n',
    [`sys/kernel/mm/${pages}`]: '16\n',
    [`sys/devices/system/node/node1/${pages}`]: '0\n',
    'proc/sys/vm/compact_memory': '',
    'proc/sys/vm/drop_caches': '0\n',
    ...Object.assign({}, ...Array.from({ length: 8 }, (_, cpu) => policy(cpu))),
  })
  return {
    ...{ root, write, text: (path) => readFileSync(join(root, path), 'utf8').trimEnd() },
    run: (verb, guest, [program = 'sh', ...args] = ['sh'], killAt = 0) => {
      write({ steps: '0\n' })
      const env = { ROOT: root, KILL_AT: `${killAt}` }
      return runProgram(program, [...args, join(root, 'program'), verb, guest], { env })
    },
    state: () =>
      ['sys', 'proc', 'slices', 'run/systemd']
        .flatMap((folder) => (existsSync(join(root, folder)) ? filesBelow(join(root, folder)) : []))
        .map((path) => `${path.slice(root.length)}: ${readFileSync(path, 'utf8')}`)
        .join('')
        // The same in other words.
        .replaceAll('0,1,2,3,4,5,6,7', '0-7'),
  }
}
