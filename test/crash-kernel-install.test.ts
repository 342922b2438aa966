import { crashesOn } from './crash.ts'

crashesOn('kernel-install')
