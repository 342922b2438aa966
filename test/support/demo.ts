// npm run demo: list-iommu on a full machine, an i9-14900K with two NVIDIA cards and NVMe behind Intel VMD.
import { spawnSync } from 'node:child_process'
import { machineDir } from './machine.ts'

const args = ['scripts/list-iommu.mjs', '--machine', machineDir('i9-14900k-vmd'), ...process.argv.slice(2)]
process.exitCode = spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1
