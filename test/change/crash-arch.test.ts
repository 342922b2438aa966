import { crashesOn } from '../support/crash.ts'

crashesOn('Arch Linux')
