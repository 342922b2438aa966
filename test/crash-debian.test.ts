import { crashesOn } from './crash.ts'

crashesOn('Debian')
