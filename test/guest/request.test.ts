import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { domainHost, genDomain, patch } from '../support/domain.ts'
import { expectError, expectNoTrace } from '../support/expect.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, PROJECT, runProgram, runScript, works } from '../support/run.ts'

const host = domainHost()
const linux = ['--name', 'x', '--guest', 'linux']

/** Arguments that are refused, and what the one line says. */
const WRONG: [args: string[], says: string][] = [
  [[], '--name'],
  [['--name', 'x'], '--guest'],
  [['--guest', 'linux'], '--name'],
  [['--guest', 'linux', '--name', 'a"b'], '--name a"b'],
  [['--guest', 'linux', '--name', "a'b"], "--name a'b"],
  [['--guest', 'linux', '--name', 'a\nb'], '--name a\\u000ab'],
  [['--guest', 'linux', '--name', 'a;reboot'], '--name a;reboot'],
  [['--guest', 'linux', '--name', '$(reboot)'], '--name $(reboot)'],
  [['--guest', 'linux', '--name', '../x'], '--name ../x'],
  [['--guest', 'linux', '--name=-x'], '--name -x'],
  [['--guest', 'linux', '--name', 'x'.repeat(65)], '64 at most'],
  [['--guest', 'windows95', '--name', 'x'], '--guest windows95'],
  [[...linux, '--gpu', '7f:00'], '7f:00: no such device'],
  [[...linux, '--gpu', 'nvidia'], 'nvidia: not a device'],
  [[...linux, '--gpu', '02:00', '--pci', '02:00.1'], 'named by --gpu and by --pci'],
  [[...linux, '--memory', '16'], '--memory 16'],
  [[...linux, '--memory', '16X'], '--memory 16X'],
  [[...linux, '--memory', '63G'], 'the host has 62.5 GiB'],
  [[...linux, '--memory', '1M'], '--memory 1M'],
  [[...linux, '--hugepages', '4M'], 'has none of 4096 KiB'],
  [[...linux, '--hugepages', '1G', '--memory', '2.5G'], 'whole number of hugepages'],
  [[...linux, '--vcpus', '0'], '--vcpus 0'],
  [[...linux, '--vcpus', '16'], '16 vCPUs are more than this host can give'],
  [[...linux, '--vcpus', '17', '--pin', 'none'], 'the host has 16 CPUs'],
  [[...linux, '--vcpus', '4', '--cores', '2'], 'choose one'],
  [[...linux, '--one-thread'], '--one-thread goes with'],
  [[...linux, '--disk', 'disk.img'], 'the whole path'],
  [[...linux, '--disk', '/a\u001b[2Jb'], '\\u001b'],
  [[...linux, '--disk', '/a\u202eb'], '\\u202e'],
  [[...linux, '--disk', '/dev/sdb', '--disk', '/dev/sdb'], 'given twice'],
  [[...linux, '--network', 'br0'], '--network br0'],
  [[...linux, '--network', 'bridge:br0;x'], '--network bridge:br0;x'],
  [[...linux, '--network', 'none', '--mac', '52:54:00:00:00:01'], '--mac'],
  [[...linux, '--mac', '53:54:00:00:00:01'], '--mac 53'],
  [[...linux, '--usb', '9-9'], 'nothing is plugged in there'],
  [[...linux, '--usb', '0c45:7663'], 'there are 2'],
  [[...linux, '--usb', 'mouse'], '--usb mouse'],
  [[...linux, '--optical', '/dev/sr7'], '/dev/sr7: no SCSI device'],
  [[...linux, '--vendor-id', '1234567890123'], '--vendor-id'],
  [[...linux, '--vendor-id', 'a,b'], '--vendor-id'],
  [[...linux, '--nvidia-driver', 'new'], '--nvidia-driver new'],
  [[...linux, '--looking-glass', 'big'], '--looking-glass big'],
  [[...linux, '--libvirt', 'old'], '--libvirt old'],
  [[...linux, '--audio', 'pulseaudio', '--audio-user', 'nobody'], '--audio-user nobody'],
  [[...linux, '--rom', '/x.rom'], '--rom goes with --gpu'],
  [
    [...linux, '--gpu', '02:00', '--x-vga'],
    "under UEFI the card's own UEFI driver shows the picture, and no legacy VGA is used; leave it out",
  ],
  [[...linux, '--loader', '/nowhere.fd'], '/nowhere.fd: not found'],
  [['--name', 'x', '--guest', 'windows11', '--firmware', 'bios'], 'Secure Boot'],
  [['--name', 'x', '--guest', 'windows11', '--chipset', 'i440fx'], 'Secure Boot'],
  [[...linux, '--diff'], '--diff goes with --patch'],
  [[...linux, '--remove', '02:00'], '--remove goes with --patch'],
  [['--patch', '/does/not/exist'], '/does/not/exist'],
  [['--patch', '/'], 'cannot be read'],
]

describe('gen-domain: what is refused', () => {
  it.each(WRONG)('%j', (args, says) => {
    expectError(genDomain(host, ...args), 'gen-domain: ', says)
  })

  it('no operands', () => expectError(runScript('gen-domain', ['02:00']), '02:00: no argument is expected'))
})

const inDomain = (inner: string): string => `<domain type='kvm'><name>x</name><devices>${inner}</devices></domain>`

/** Documents that are refused, and what the one line says. */
const MALFORMED: Record<string, [text: string | Buffer, says: string]> = {
  empty: ['', 'empty'],
  'no XML': ['hello', 'text outside'],
  'an element that is never closed': ['<domain>\n<name>', 'line 2: <name> is never closed'],
  'tags that cross': ['<domain><a><b></a></b></domain>', '</a> closes nothing'],
  'two roots': ['<domain/><domain/>', 'second root'],
  'an attribute twice': ["<domain a='1' a='2'/>", 'stands twice'],
  'an attribute without quotes': ['<domain a=1/>', 'not well-formed'],
  'a comment with --': [inDomain('<!-- a -- b -->'), 'not well-formed'],
  'a prefix without namespace': [inDomain('<qemu:x/>'), 'bound to no namespace'],
  'an ampersand': [inDomain('&'), 'no entity'],
  'an entity': [inDomain('&nbsp;'), 'no entity'],
  'an entity bomb': [`<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>${inDomain('&b;')}`, 'document type'],
  'an external entity': [`<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>${inDomain('&x;')}`, 'document type'],
  'an external document type': [`<!DOCTYPE d SYSTEM "http://127.0.0.1/d.dtd">${inDomain('')}`, 'document type'],
  'control characters': [inDomain('\u0001'), 'does not allow'],
  'a NUL by reference': [inDomain('&#0;'), 'does not allow'],
  'Latin-1': [Buffer.from('<domain><name>\u00e9</name></domain>', 'latin1'), 'not UTF-8'],
  'another encoding': ["<?xml version='1.0' encoding='ISO-8859-1'?><domain/>", 'ISO-8859-1'],
  'UTF-16': [Buffer.from('\ufeff<domain/>', 'utf16le'), 'not UTF-8'],
  'a network': ['<network/>', '<network>: not a domain'],
  'elements in each other': ['<domain>'.repeat(5000), '200 deep'],
}

describe('gen-domain --patch: what is refused', () => {
  it.each(Object.entries(MALFORMED))('%s', (_, [text, says]) => {
    const file = `${scratchDir('bad')}/bad.xml`
    writeFileSync(file, text)
    expectError(genDomain(host, '--patch', file, '--hide-kvm'), file, says)
  })

  it('50 MB, at once, from a file and from a pipe', () => {
    const file = `${scratchDir('bad')}/large.xml`
    writeFileSync(file, `<domain>${' '.repeat(50_000_000)}</domain>`)
    expectError(genDomain(host, '--patch', file, '--hide-kvm'), 'longer than 4 MiB')
    const script = `node ${PROJECT}scripts/gen-domain.mjs --patch - --hide-kvm < ${file}`
    const { status, stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' })
    expectError({ code: status, stdout, stderr }, 'standard input: longer than 4 MiB')
  })

  it('a document made to be slow is read in linear time', () => {
    for (const text of ['<a b="'.repeat(200_000), '<!--'.repeat(200_000), `<domain${' a="b"'.repeat(100_000)}<`]) {
      const began = Date.now()
      expectError(patch(host, text, '--hide-kvm'), 'not well-formed')
      expect(Date.now() - began).toBeLessThan(5000)
    }
  })

  needs('xmllint').it('what xmllint refuses is refused, and nothing else', () => {
    const cases = [
      ...[
        '<a>]]></a>',
        '<a><![CDATA[x]]></a>',
        '<![CDATA[x]]><a/>',
        '<a><!----></a>',
        '<a><!---></a>',
        '<a><!--x---></a>',
      ],
      ...[
        '<a><?pi x?></a>',
        '<a><?xml x?></a>',
        ' <?xml version="1.0"?><a/>',
        '<a b="<"/>',
        '<a b="x>y"/>',
        '<a b="1"c="2"/>',
      ],
      ...['< a/>', '<a >x</a >', '<1a/>', '<é/>', '<x:a/>', '<x:a xmlns:x="u"/>', '<a x:b="1"/>', '<a xml:lang="e"/>'],
      ...[
        '<a>&#xD800;</a>',
        '<a>&#x41;</a>',
        '<a b="&lt;"/>',
        '<a b="&x;"/>',
        '<a/>x',
        '<!-- --><a/><!-- -->\n',
        '<xmlns:a/>',
      ],
    ]
    for (const text of cases) {
      const { status, stderr } = spawnSync('xmllint', ['--noout', '-'], { input: text, encoding: 'utf8' })
      const ran = patch(host, text, '--hide-kvm')
      expectNoTrace(ran)
      const refused = status !== 0 || stderr !== ''
      // What is well-formed is told to be no domain.
      expect([text, /not a domain/.test(ran.stderr)]).toEqual([text, !refused])
    }
  })
})

describe('gen-domain: versions', () => {
  // Where no database has it in plain text, as on Fedora; seen in a mount namespace of its own.
  const hidden =
    'mount --bind "$1" /var/lib/dpkg/status && mount --bind "$2" "$(command -v qemu-system-x86_64)" && shift 2'
  const unshared = ['-m', 'sh', '-c', `${hidden} && exec "$@"`, 'sh']
  needs('QEMU and unshare', has('qemu-system-x86_64') && works('unshare', '-m', 'true')).it(
    'QEMU itself says its version',
    () => {
      const [status, qemu] = ['status', 'qemu'].map((name) => join(scratchDir('qemu'), name)) as [string, string]
      writeFileSync(status, '')
      writeFileSync(qemu, '#!/bin/sh\necho "QEMU emulator version 2.11.1(Debian)"\n', { mode: 0o755 })
      const script = [
        process.execPath,
        `${PROJECT}scripts/gen-domain.mjs`,
        '--libvirt',
        '9.0.0',
        '--name',
        'x',
        '--guest',
        'windows10',
      ]
      const { stderr } = runProgram('unshare', [...unshared, status, qemu, ...script])
      expect(stderr).toMatch(/QEMU 2\.11\.1 is older than/)
    },
  )
})
