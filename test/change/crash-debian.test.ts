import { crashesOn } from '../support/crash.ts'

crashesOn('Debian')
