import { expectCode, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import type { Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { emulation } from './gen-domain.ts'
import { desktop, desktopDisk } from './hand-over.ts'

// CPUs, interrupts and huge pages that guests have only while they run, as the kernel shows them. Emulated CPUs cannot be
// pinned one by one, only all alike, and the machine has no cpufreq: clocks are tested on a host of files.

/** A guest with its virtual CPUs on one list of the host's, and `card`. */
const define = (name: string, cpus: string, card: string) => `
gen-domain --name ${name} --guest linux --memory 128M --network none --headless --firmware bios ${card} >${name}.xml
sed ${emulation} ${name}.xml |
  sed -e '/<topology/d' -e "s|<vcpu.*|<vcpu placement='static' cpuset='${cpus}'>1</vcpu><cputune><vcpupin vcpu='0' cpuset='${cpus}'/></cputune>|" >emulated.xml
virsh define emulated.xml`

const setUp = `set -e
for i in $(seq 60); do virsh uri >/dev/null 2>&1 && break; sleep 1; done
${define('vm', '2', '--pci 00:08')}
${define('other', '3', '')}
tune-host --while-running vm --isolate --hugepages 64M --apply
tune-host --while-running other --isolate --hugepages 32M --apply`

const look = `for s in init.scope system.slice user.slice; do echo "$s $(cat /sys/fs/cgroup/$s/cpuset.cpus.effective 2>/dev/null || cat /sys/fs/cgroup/cpuset.cpus.effective)"; done
echo "pages $(cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages)"
echo "workqueues $(cat /sys/devices/virtual/workqueue/cpumask)"
echo "new interrupts $(cat /proc/irq/default_smp_affinity)"
for i in /proc/irq/[0-9]*; do echo "irq \${i##*/} $(cat $i/smp_affinity_list) $(ls $i | grep -v -e affinity -e node -e spurious -e count | tr '\\n' ' ')"; done | sort -V`

/** How late a thread of a guest wakes up, in microseconds, beside a busy host: `AVERAGE MAXIMUM`. */
const latency = `cat >noise.sh <<'END'
for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done
wait
END
systemd-run --quiet --unit=noise bash $PWD/noise.sh
sleep 3
systemd-run --quiet --wait --pipe --slice=machine.slice taskset -c 2 cyclictest --quiet --threads=1 --affinity=2 --policy=other --interval=2000 --duration=20 |
  sed -n 's/.*Avg: *\\([0-9]*\\) Max: *\\([0-9]*\\).*/\\1 \\2/p'
systemctl stop noise`

const state = async (guest: Guest): Promise<string> => (await guest.run(look)).stdout

function expectState(now: string, slices: string, pages: number): void {
  for (const one of ['init.scope', 'system.slice', 'user.slice'])
    if (!now.includes(`${one} ${slices}\n`)) throw new LabError(`${one} is not on CPUs ${slices}: ${now}`)
  if (!now.includes(`pages ${pages}\n`)) throw new LabError(`not ${pages} huge pages: ${now}`)
}

export const whileRunning: Scenario = {
  name: 'while-running',
  about: 'CPUs, interrupts and huge pages that two guests have while they run, also when QEMU is killed',
  slow: true,
  async run(lab) {
    const disk = await desktopDisk(lab, ['rt-tests'])
    const guest = await lab.start({ ...desktop, cpus: 4, memory: 2560 }, disk)
    await lab.step('two guests, and what they get', async () =>
      expectCode('tune-host', await guest.run(setUp, { seconds: 400 }), 0),
    )
    const before = await state(guest)
    expectState(before, '0-3', 0)
    const start = async (name: string) =>
      expectCode('virsh start', await guest.run(`virsh start ${name}`, { seconds: 300 }), 0, /started/)
    await lab.step('the first starts', async () => {
      await start('vm')
      const now = await state(guest)
      expectState(now, '0-1,3', 32)
      lab.note(now.trim().split('\n').slice(0, 6).join(' | '))
      const own = await guest.run("sleep 10; sed -n 's/^ *\\([0-9]*\\):.*vfio.*(0000:00:08.0)$/\\1/p' /proc/interrupts")
      for (const irq of own.stdout.trim().split('\n').filter(Boolean))
        expectCode(
          'its interrupt',
          await guest.run(
            `f=/proc/irq/${irq}/smp_affinity_list
for i in $(seq 45); do [ "$(cat $f)" = 2 ] && break; sleep 2; done; cat $f; cat /run/vfio-scripts/while-running/wants/vm; journalctl -u vfio-scripts-hand-over-watch@vm | tail -5`,
            { seconds: 150 },
          ),
          0,
          /^2$/m,
        )
      lab.note(`interrupts of its card: ${own.stdout.trim() || 'none'}`)
      const stray = now.split('\n').filter((line) => /^irq \d+ 2 /.test(line) && !line.includes('vfio'))
      lab.note(`interrupts that the kernel keeps on its CPU: ${stray.length}`)
    })
    await lab.step(
      'a thread in the slice of guests, beside a busy host: with its CPU to itself, and without',
      async () => {
        const kept = (await guest.run(latency, { seconds: 120 })).stdout.trim()
        const shared =
          'for s in init.scope system.slice user.slice; do systemctl set-property --runtime $s AllowedCPUs='
        expectCode('shared', await guest.run(`${shared}0-3; done`), 0)
        const beside = (await guest.run(latency, { seconds: 120 })).stdout.trim()
        expectCode('kept', await guest.run(`${shared}0,1,3; done`), 0)
        lab.note(`average and maximum in microseconds: ${kept} with its CPU to itself, ${beside} without`)
        const [alone = 0, without = 0] = [kept, beside].map((text) => Number(text.split(' ')[0]))
        if (!(alone > 0 && without > alone)) throw new LabError(`no gain: ${kept} against ${beside}`)
      },
    )
    await lab.step('--status', async () =>
      expectCode(
        'tune-host --status',
        await guest.run('tune-host --status', { seconds: 120 }),
        0,
        /vm has CPUs 2 to itself/,
      ),
    )
    await lab.step('the second starts, libvirtd restarts, the first stops', async () => {
      await start('other')
      expectState(await state(guest), '0-1', 48)
      expectCode(
        'libvirtd',
        await guest.run('systemctl restart libvirtd; sleep 10; virsh list', { seconds: 120 }),
        0,
        /vm[\s\S]*other|other[\s\S]*vm/,
      )
      expectState(await state(guest), '0-1', 48)
      expectCode('virsh destroy', await guest.run('virsh destroy vm', { seconds: 200 }), 0)
      expectState(await state(guest), '0-2', 16)
    })
    await lab.step('QEMU of the second is killed: all is as before', async () => {
      const killed =
        'kill -9 $(cat /run/libvirt/qemu/other.pid); for i in $(seq 200); do [ -e /run/vfio-scripts/hand-over/other/record ] || exit 0; sleep 2; done; exit 1'
      expectCode('kill', await guest.run(killed, { seconds: 450 }), 0)
      // A driver may have asked for an interrupt meanwhile; that has all CPUs, as at its start without guests.
      const had = new Set(before.match(/^irq \d+/gm))
      const isNew = (line: string) => /^irq \d+ 0-3 /.test(line) && !had.has(/^irq \d+/.exec(line)?.[0] ?? '')
      const now = (await state(guest)).split('\n')
      expectSame('the host', now.filter((line) => !isNew(line)).join('\n'), before)
    })
    await guest.end()
  },
}
