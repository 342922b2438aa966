import { expectCode, expectSame } from '../expect.ts'
import type { Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { away, desktop, expectPicture, picture, readyDesktop, state } from './hand-over.ts'

/** A start that is refused: the one line, and nothing is away. */
const refused = (name: string, script: string, says: RegExp) => ({ name, script, says })

const log = '/run/vfio-scripts/hand-over/vm/log'

/** The unit is killed when its log says this. */
const killedAt = (step: string) =>
  refused(
    `the unit killed at "${step}"`,
    `rm -f ${log}; virsh start vm & start=$!
until grep -q '${step}' ${log} 2>/dev/null; do kill -0 $start || exit 99; sleep 0.1; done
systemctl kill -s KILL vfio-scripts-hand-over@vm.service; wait $start`,
    /Hook script execution failed/,
  )

const failures = [
  // libvirt looks for the image after it has called the hooks; an emulator that is none would be found before.
  refused(
    'a guest that never starts',
    `virsh dumpxml vm >vm.xml
disk="<disk type='file' device='disk'><source file='/var/tmp/none.img'/><target dev='vdz' bus='virtio'/></disk>"
sed "s|<devices>|&$disk|" vm.xml >broken.xml
rm -f ${log}; virsh create broken.xml; code=$?
grep -q ' away$' ${log} || exit 99; exit $code`,
    /none\.img/,
  ),
  refused(
    'another hook that fails after ours',
    `printf '#!/bin/sh\n[ "$2" != prepare ]\n' >/etc/libvirt/hooks/qemu.d/60-other
chmod 755 /etc/libvirt/hooks/qemu.d/60-other; rm -f ${log}; virsh start vm; code=$?
rm /etc/libvirt/hooks/qemu.d/60-other; grep -q ' away$' ${log} || exit 99; exit $code`,
    /Hook script execution failed/,
  ),
  refused(
    'a holder that does not let go',
    `node=$(readlink -f /dev/dri/by-path/pci-0000:00:06.0-card)
systemd-run --quiet --unit=holder --slice=other.slice sh -c "exec 3<$node; sleep 1000"
sleep 3; virsh start vm; code=$?; systemctl stop holder; exit $code`,
    /in use.*card\d/,
  ),
  killedAt('stop greetd'),
  killedAt('to vfio-pci'),
]

export const handOverFaults: Scenario = {
  name: 'hand-over-faults',
  about:
    'whatever fails on the way, the host has everything back: refused starts, QEMU and libvirtd killed, a shutdown',
  slow: true,
  async run(lab) {
    const { guest, shown, before } = await readyDesktop(lab, desktop, '00:06')
    const settled = async () => {
      expectPicture(await picture(guest), shown)
      expectSame('who has what', await state(guest, '00:06'), before)
    }
    for (const { name, script, says } of failures)
      await lab.step(name, async () => {
        expectCode('the start', await guest.run(script, { seconds: 500 }), 1, says)
        await settled()
      })
    const started = async () => expectCode('virsh start', await guest.run('virsh start vm', { seconds: 400 }), 0)
    await lab.step('QEMU is killed', async () => {
      await started()
      expectCode('kill', await guest.run('kill -9 $(cat /run/libvirt/qemu/vm.pid)'), 0)
      await settled()
    })
    await lab.step('libvirtd restarts while the guest runs, which goes on', async () => {
      await started()
      const restart = 'systemctl restart libvirtd; sleep 20; virsh domstate vm'
      expectCode('restart', await guest.run(restart, { seconds: 200 }), 0, /running/)
      if (!away('00:06', '/dev/vfio/\\d+').test(await state(guest, '00:06'))) throw new LabError('the card came back')
      expectCode('virsh destroy', await guest.run('virsh destroy vm', { seconds: 300 }), 0)
      await settled()
    })
    await lab.step('libvirtd is dead and QEMU too: the watchdog', async () => {
      await started()
      const kill =
        'pid=$(cat /run/libvirt/qemu/vm.pid); systemctl kill -s KILL libvirtd; systemctl mask --runtime libvirtd libvirtd.socket; systemctl stop libvirtd.socket libvirtd; kill -9 $pid; for i in $(seq 60); do [ -e /run/vfio-scripts/hand-over/vm/record ] || exit 0; sleep 2; done; exit 1'
      expectCode('the watchdog', await guest.run(kill, { seconds: 300 }), 0)
      await settled()
      expectCode(
        'libvirtd again',
        await guest.run('systemctl unmask --runtime libvirtd libvirtd.socket; systemctl start libvirtd; virsh list', {
          seconds: 120,
        }),
        0,
      )
    })
    await lab.step('--return', async () => {
      await started()
      expectCode(
        'hand-over --return',
        await guest.run('hand-over vm --return --apply', { seconds: 400 }),
        0,
        /has everything back/,
      )
      await settled()
    })
    await lab.step('the host shuts down while the guest runs', async () => {
      await started()
      // A little later, so that the answer to this command is there first.
      const later = 'systemd-run -q --on-active=10 systemctl --no-block poweroff'
      await guest.run(`echo SHUTDOWN_TIMEOUT=20 >>/etc/default/libvirt-guests; ${later}`)
      // libvirt-guests waits for a guest that does not answer.
      await guest.gone(700)
    })
  },
}
