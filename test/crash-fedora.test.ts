import { crashesOn } from './crash.ts'

crashesOn('Fedora')
