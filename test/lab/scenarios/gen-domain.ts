import { driversOf, expectCode, expectDrivers } from '../expect.ts'
import { grub, intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'

// A guest inside the guest: there is no KVM, so libvirt and QEMU are told to emulate; all else is as it was printed.

export const libvirtPrograms = [
  'libvirt-daemon-system',
  'libvirt-clients',
  'libvirt-daemon-driver-qemu',
  'qemu-system-x86',
]
const machine = { ...grub(intel, 'bios'), memory: 2048 }
const guest = '--name vm --guest linux --pci 04:00 --memory 128M --network none --headless --firmware bios'

/** Arguments of sed for a domain: neither KVM nor the host's CPU, and all that stands in its element. */
export const emulation = [
  "s/<domain type='kvm'/<domain type='qemu'/",
  "s/<cpu mode='host-passthrough'/<cpu mode='maximum'/",
  's/host-x86_64-cpu\\.host-phys-bits-limit=/max-x86_64-cpu.phys-bits=/',
]
  .map((change) => `-e "${change}"`)
  .join(' ')

/** Starts it under libvirt, and says which VFIO nodes its QEMU has open. */
export const underLibvirt = (options: string): string => `
gen-domain ${options} > vm.xml
sed ${emulation} vm.xml > emulated.xml
echo 'stdio_handler = "file"' >> /etc/libvirt/qemu.conf
libvirtd -d
for i in $(seq 60); do virsh uri >/dev/null 2>&1 && break; sleep 1; done
virsh define emulated.xml
virsh start vm
ls -l /proc/$(cat /run/libvirt/qemu/vm.pid)/fd | grep -oE '/dev/vfio/(devices/vfio)?[0-9]+$'
virsh destroy vm`

/** Writes `vm.sh`, which starts it by the plain program, and `qemu`, by which it emulates. */
export const plainProgram = (options: string): string => `
gen-domain ${options} --format qemu > vm.sh
cat > qemu <<'EOF'
#!/bin/bash
args=()
for word; do word=\${word/accel=kvm/accel=tcg}; [[ $word != host,* ]] || word=max; args+=("$word"); done
exec qemu-system-x86_64 "\${args[@]}"
EOF
chmod +x qemu`

const withoutLibvirt = `${plainProgram(guest)}
HOME=$PWD QEMU=$PWD/qemu sh vm.sh -daemonize -pidfile pid
ls -l /proc/$(cat pid)/fd | grep -o '/dev/vfio/[0-9]*$'
kill $(cat pid)`

export const genDomain: Scenario = {
  name: 'gen-domain',
  about: 'a guest with a bound card, by libvirt and by the plain program: it holds /dev/vfio/N open',
  async run(lab) {
    const { folder } = await lab.capture(machine, 'list-iommu')
    const disk = await lab.disk('initramfs-tools', libvirtPrograms)
    const apply = 'bind-vfio --root "$ROOT" --machine "$CAPTURE" 04:00 --apply'
    await disk.apply('a card bound', apply, { CAPTURE: folder })
    const host = await lab.start(machine, disk)
    await lab.step('on vfio-pci', async () => expectDrivers(await driversOf(host), { '0000:04:00.0': 'vfio-pci' }))
    const run = (script: string) => host.run(`set -e\n${script}`, { seconds: 600 })
    await lab.step('under libvirt', async () =>
      expectCode('the guest', await run(underLibvirt(guest)), 0, /^\/dev\/vfio\/\d+$/m),
    )
    await lab.step('by the plain program', async () =>
      expectCode('the guest', await run(withoutLibvirt), 0, /^\/dev\/vfio\/\d+$/m),
    )
    await host.end()
  },
}
