import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectRan, tune, write } from '../support/bind.ts'
import { genDomain, golden, invalid, LIBVIRTD, patch, readGolden, startLibvirt, VALIDATOR } from '../support/domain.ts'
import { needs } from '../support/needs.ts'
import { genVm, STORAGE, settingsOf } from '../support/proxmox.ts'
import type { Ran } from '../support/run.ts'
import { INFINIBAND, NIC, sriovServer } from '../support/sriov.ts'

const guest = (dir: string, ...args: string[]): Ran =>
  genDomain(dir, '--name', 'vm', '--guest', 'linux', '--network', 'none', '--memory', '1G', ...args)
const sourcesOf = (xml: string): string[] =>
  [
    ...xml.matchAll(/<source>\s*<address (?:type='pci' )?domain='0x0000' bus='0x(..)' slot='0x(..)' function='0x(.)'/g),
  ].map(([, bus, slot, fn]) => `${bus}:${slot}.${fn}`)
const guestFile = (name: string, xml: string): Record<string, string> => ({
  [`etc/libvirt/qemu/${name}.xml`]: `<domain type='kvm'><name>${name}</name><devices>${xml}</devices></domain>`,
})
const source = (slot: number, fn: number, type = ''): string =>
  `<source><address ${type} domain='0x0000' bus='0x3b' slot='${slot}' function='${fn}'/></source>`

describe('gen-domain --vf', { concurrent: true }, () => {
  it('writes an interface with the MAC address and VLAN that tune-host has', async () => {
    const dir = sriovServer()
    const own = ['--vf-mac', '0=52:54:00:12:34:56', '--vf-vlan', '0=100', '--vf-vlan', '1=200']
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...own, ...write), 0)
    const ran = guest(dir, '--vf', '3b:00.0', '--vf', '3b:00.0', '--explain')
    expectRan(ran, 0, /0000:3b:02\.0: an interface with MAC address 52:54:00:12:34:56, VLAN 100, as tune-host has it/)
    await expect(ran.stdout).toMatchFileSnapshot(golden('virtual-functions'))
  })

  it('has one address for a function, with tune-host and without', () => {
    const dir = sriovServer()
    const before = guest(dir, '--vf', '3b:02.3').stdout
    expect(before).toMatch(/<mac address='02(:[0-9a-f]{2}){5}'/)
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(guest(dir, '--vf', '3b:02.3').stdout).toBe(before)
  })

  it('gives the ports of a bond addresses of their own', () => {
    const dir = sriovServer()
    const plain = guest(dir, '--vf', '3b:02.0').stdout
    writeFileSync(join(dir, NIC, 'net/ens1/address'), '3c:fd:fe:00:00:77\n')
    expect(guest(dir, '--vf', '3b:02.0').stdout).not.toBe(plain)
    mkdirSync(join(dir, NIC, 'net/ens1/bonding_slave'))
    writeFileSync(join(dir, NIC, 'net/ens1/bonding_slave/perm_hwaddr'), '3c:fd:fe:00:00:01\n')
    expect(guest(dir, '--vf', '3b:02.0').stdout).toBe(plain)
  })

  it('takes what is set aside for guests first, then what no driver has, then what is not in use', () => {
    const dir = sriovServer()
    const vfs = Array.from({ length: 4 }, () => ['--vf', '3b:00.0']).flat()
    expect(sourcesOf(guest(dir, ...vfs).stdout)).toEqual(['3b:02.0', '3b:02.3', '3b:02.1', '3b:02.2'])
  })

  it('leaves out what a guest, a network or the host has, and says who', () => {
    const dir = sriovServer({
      ...guestFile('win11', `<hostdev mode='subsystem' type='pci'>${source(2, 0)}</hostdev>`),
      ...guestFile('db', `<interface type='hostdev'>${source(2, 3, "type='pci'")}</interface>`),
      'etc/libvirt/qemu/networks/pool.xml':
        "<network><name>pool</name><forward mode='hostdev'><address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/></forward></network>",
    })
    expect(sourcesOf(guest(dir, '--vf', '3b:00.0').stdout)).toEqual(['3b:02.2'])
    const net = join(dir, 'sys/bus/pci/devices/0000:3b:02.2/net/ens1v2')
    mkdirSync(net, { recursive: true })
    writeFileSync(join(net, 'flags'), '0x1003\n')
    const real = join('../../devices/pci0000:3a/0000:3a:00.0/0000:3b:02.2/net/ens1v2')
    symlinkSync(real, join(dir, 'sys/class/net/ens1v2'))
    const none = guest(dir, '--vf', '3b:00.0')
    expectRan(none, 2, /none of the 4 virtual functions of 0000:3b:00\.0 is free/)
    expect(none.stderr).toMatch(
      /3b:02\.0: guest win11\n.*3b:02\.1: libvirt's network pool\n.*3b:02\.2: .*ens1v2 is up\n.*3b:02\.3: guest db/,
    )
    expect(none.stdout).toBe('')
  })

  it('gives a guest that is written anew the function that it has', () => {
    const dir = sriovServer(guestFile('vm', `<interface type='hostdev'>${source(2, 2, "type='pci'")}</interface>`))
    expect(sourcesOf(guest(dir, '--vf', '3b:00.0').stdout)).toEqual(['3b:02.2'])
    expect(sourcesOf(guest(dir, '--vf', '3b:00.0', '--vf', '3b:00.0').stdout)).toEqual(['3b:02.2', '3b:02.0'])
  })

  it('leaves out what is named itself, before or after the card', () => {
    const dir = sriovServer()
    expect(sourcesOf(guest(dir, '--vf', '3b:00.0', '--vf', '3b:02.0').stdout)).toEqual(['3b:02.3', '3b:02.0'])
    expect(sourcesOf(guest(dir, '--vf', '3b:02.0', '--vf', '3b:00.0').stdout)).toEqual(['3b:02.0', '3b:02.3'])
  })

  it('leaves out what a running guest has that is defined nowhere', () => {
    const dir = sriovServer({
      'run/libvirt/qemu/live.xml': `<domstatus pid='1'><domain><name>live</name><devices><interface type='network'><actual type='hostdev'>${source(2, 0, "type='pci'")}</actual></interface></devices></domain></domstatus>`,
    })
    expect(sourcesOf(guest(dir, '--vf', '3b:00.0').stdout)).toEqual(['3b:02.3'])
  })

  it.each<[string, string[], RegExp, Record<string, string>?]>([
    [
      'a card without functions yet',
      ['--vf', '3b:00.1'],
      /3b:00\.1 has no virtual functions yet; make some: tune-host --vfs 0000:3b:00\.1=4 --apply/,
    ],
    [
      'a card that can have none',
      ['--vf', 'b0:00.0'],
      /can have no virtual functions; --pci gives the guest all of it/,
    ],
    ['a card that is not there', ['--vf', '77:00.0'], /no such device/],
    ['a whole slot', ['--vf', '3b:00'], /several functions; name one, as 0000:3b:00\.0/],
    ['what is no device', ['--vf', 'ens1'], /not a device/],
    ['one function twice', ['--vf', '3b:02.0', '--vf', '3b:02.0'], /named twice/],
    ['a function that --pci names', ['--pci', '3b:02.0', '--vf', '3b:02.0'], /named twice/],
    [
      "a card of libvirt's own network",
      ['--vf', '3b:00.0'],
      /libvirt's network pool gives the virtual functions of 0000:3b:00\.0 out itself: --network network:pool/,
      {
        'etc/libvirt/qemu/networks/pool.xml':
          "<network><name>pool</name><forward mode='hostdev'><pf dev='ens1'/></forward></network>",
      },
    ],
  ])('refuses %s', (_, args, says, files) => {
    const dir = sriovServer(files)
    rmSync(join(dir, 'sys/bus/pci/devices/0000:3b:0a.0'), { recursive: true })
    rmSync(join(dir, 'sys/bus/pci/devices/0000:3b:0a.1'), { recursive: true })
    const ran = guest(dir, ...args)
    expectRan(ran, 2, says)
    expect(ran.stdout).toBe('')
  })

  it('refuses a card that a guest has as a whole', () => {
    const dir = sriovServer()
    rmSync(join(dir, NIC, 'driver'))
    symlinkSync('../../../../bus/pci/drivers/vfio-pci', join(dir, NIC, 'driver'))
    const uevent = join(dir, NIC, 'uevent')
    writeFileSync(uevent, readFileSync(uevent, 'utf8').replace(/^DRIVER=.*$/m, 'DRIVER=vfio-pci'))
    expectRan(guest(dir, '--vf', '3b:00.0'), 2, /is on vfio-pci, for a guest as a whole/)
  })

  it('says that the interface of the card must be on', () => {
    const dir = sriovServer()
    expect(guest(dir, '--vf', '3b:00.0').stderr).not.toMatch(/is off/)
    writeFileSync(join(dir, NIC, 'net/ens1/flags'), '0x1002\n')
    expectRan(guest(dir, '--vf', '3b:00.0'), 0, /ens1 is off, and libvirt starts no guest.*ip link set ens1 up/)
  })

  it('says that what something else has given is not known', () => {
    const profile = '[connection]\ninterface-name=ens1\n\n[sriov]\ntotal-vfs=4\nvf.0=vlans=100\n'
    const dir = sriovServer({ 'etc/NetworkManager/system-connections/lan.nmconnection': profile })
    const ran = guest(dir, '--vf', '3b:00.0')
    expectRan(ran, 0, /3b:02\.0: .*lan\.nmconnection:5: total-vfs=4: what that gives it.*write both into the XML/)
    expect(guest(sriovServer(), '--vf', '3b:00.0').stderr).not.toMatch(/what that gives it/)
  })

  it('writes a plain device where libvirt can set nothing, and says so', () => {
    const dir = sriovServer()
    rmSync(join(dir, NIC, 'net'), { recursive: true })
    const ran = guest(dir, '--vf', '3b:00.0')
    expectRan(ran, 0, /its card 0000:3b:00\.0 has no Ethernet interface here.*a plain device/)
    expect(ran.stdout).toMatch(/<hostdev mode='subsystem' type='pci' managed='yes'>/)
    // IP over InfiniBand.
    const net = join(dir, NIC, 'net/ib0')
    mkdirSync(net, { recursive: true })
    writeFileSync(join(net, 'address'), INFINIBAND)
    expectRan(guest(dir, '--vf', '3b:00.0'), 0, /no Ethernet interface here.*a plain device/)
    // A function of what is no network card is a plain device, and nothing is to be said.
    expect(guest(dir, '--vf', 'af:00.0').stdout).toMatch(
      /<hostdev[^>]*>\s*<source>\s*<address domain='0x0000' bus='0xaf' slot='0x00' function='0x6'/,
    )
  })

  it('is a device of a Proxmox VM, and says who sets the addresses', () => {
    const dir = sriovServer({ 'etc/hostname': 'pve\n', 'etc/pve/storage.cfg': STORAGE })
    const ran = genVm(dir, '--name', 'vm', '--guest', 'linux', '--network', 'none', '--memory', '1G', '--vf', '3b:00.0')
    expect(ran.stderr).toMatch(/Proxmox/)
    expect(settingsOf(ran)).toMatchObject({ hostpci0: '0000:3b:02.0,pcie=1' })
    expect(ran.stderr).toMatch(
      /Proxmox sets no MAC address and no VLAN: tune-host --vfs 0000:3b:00\.0=N --vf-mac 0=MAC/,
    )
  })

  it("leaves out what another VM of Proxmox has, by address, slot or mapping, and keeps this one's", () => {
    const dir = sriovServer({
      'etc/hostname': 'pve\n',
      'etc/pve/storage.cfg': STORAGE,
      'etc/pve/mapping/pci.cfg': 'vf\n\tmap node=pve,path=0000:3b:02.1,id=8086:154c\n',
      'etc/pve/qemu-server/100.conf': 'hostpci0: 3b:02.0,pcie=1\nhostpci1: mapping=vf\n',
      'etc/pve/qemu-server/101.conf': 'name: vm\nhostpci0: 0000:3b:02.2\n',
      'etc/pve/qemu-server/102.conf': 'hostpci0: 0000:3b:02.3\nhostpci1: 3b:0a\n',
    })
    const vm = (vmid: string, card: string): Ran =>
      genVm(dir, '--vmid', vmid, '--name', 'vm', '--guest', 'linux', '--network', 'none', '--vf', card)
    const own = vm('101', '3b:00.0')
    expectRan(own, 0, /^qm set 101/)
    expect(settingsOf(own)).not.toHaveProperty('hostpci1')
    expectRan(
      vm('103', '3b:00.0'),
      2,
      /none of the 4 .*\n.*02\.0: VM 100\n.*02\.1: VM 100\n.*02\.2: VM 101\n.*02\.3: VM 102/,
    )
    expectRan(vm('103', '3b:00.1'), 2, /none of the 2 .*\n.*0a\.0: VM 102\n.*0a\.1: VM 102/)
  })

  it('has QEMU take it, and says who sets the addresses', () => {
    const dir = sriovServer()
    const qemu = ['--vf', '3b:00.0', '--format', 'qemu', '--firmware', 'bios']
    const ran = guest(dir, ...qemu)
    expectRan(
      ran,
      0,
      /QEMU by itself sets no MAC address and no VLAN: tune-host --vfs 0000:3b:00\.0=N --vf-mac 0=MAC --vf-vlan 0=VLAN does/,
    )
    expect(ran.stdout).toContain('vfio-pci,host=0000:3b:02.0,bus=card0,addr=0x0.0')
    expectRan(tune(dir, '--vfs', '3b:00.0=4', '--vf-vlan', '0=100', ...write), 0)
    expectRan(guest(dir, ...qemu), 0, /it has what tune-host --vfs has set \(MAC address 02:\S+, VLAN 100\)/)
  })
})

describe('gen-domain --patch', { concurrent: true }, () => {
  const domain = (xml: string): string =>
    `<domain type='kvm'><name>vm</name><os><type machine='q35'>hvm</type></os><devices>${xml}</devices></domain>`

  it('adds a virtual function, once, and takes it out again', () => {
    const dir = sriovServer()
    const added = patch(dir, domain(''), '--vf', '3b:00.0').stdout
    expect(added).toMatch(/<interface type='hostdev' managed='yes'>\s*<mac /)
    expect(patch(dir, added, '--vf', '3b:00.0').stdout).toBe(added)
    expect(sourcesOf(patch(dir, added, '--vf', '3b:00.0', '--vf', '3b:00.0').stdout)).toEqual(['3b:02.0', '3b:02.3'])
    const without = patch(dir, added, '--remove', '3b:02.0').stdout
    expect(without).not.toMatch(/hostdev|pcie-root-port/)
  })

  it('says that a plain device has neither MAC address nor VLAN', () => {
    const dir = sriovServer()
    const plain = domain(`<hostdev mode='subsystem' type='pci' managed='yes'>${source(2, 0)}</hostdev>`)
    const ran = patch(dir, plain, '--pci', '3b:02.0')
    expectRan(ran, 0, /3b:02\.0: a plain device in the domain, for which libvirt sets no MAC address/)
    expect(ran.stdout).toBe(plain)
  })
})

needs('virt-xml-validate', VALIDATOR).it("is valid by libvirt's schemas", () => {
  expect(invalid(readGolden('virtual-functions'))).toBe('')
})

needs('libvirtd, virsh and QEMU', LIBVIRTD).describe('libvirtd', () => {
  let libvirt: Awaited<ReturnType<typeof startLibvirt>>
  beforeAll(async () => {
    libvirt = await startLibvirt()
  }, 120_000)
  afterAll(() => libvirt.stop())
  it('keeps MAC address, VLAN and place', () => {
    const { error, xml } = libvirt.define(readGolden('virtual-functions'))
    expect(error).toBe('')
    expect(xml).toMatch(
      /<interface type='hostdev' managed='yes'>\s*<mac address='52:54:00:12:34:56'\/>\s*<source>\s*<address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x0'\/>\s*<\/source>\s*<vlan>\s*<tag id='100'\/>\s*<\/vlan>\s*<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'\/>/,
    )
  })
})
