import { crashesOn } from './crash.ts'

crashesOn('Arch Linux')
