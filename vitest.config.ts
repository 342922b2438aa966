import { defineConfig } from 'vitest/config'
import { Summary } from './test/support/summary.ts'

const { VFIO_TEST_REPORT } = process.env

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/setup.ts',
    testTimeout: 180_000,
    // Most of a test is one thread's work.
    maxWorkers: '100%',
    reporters: [
      'default',
      new Summary(),
      ...(VFIO_TEST_REPORT === undefined
        ? []
        : [['json', { outputFile: VFIO_TEST_REPORT }] as ['json', { outputFile: string }]]),
    ],
  },
})
