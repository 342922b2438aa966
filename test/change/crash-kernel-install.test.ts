import { crashesOn } from '../support/crash.ts'

crashesOn('kernel-install')
