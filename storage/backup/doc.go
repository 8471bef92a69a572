// Package backup keeps copies of a store in a folder, and makes stores of them again.
//
//	store, closed or a checkpoint  →  files named by their content  →  manifest, last  →  (restore) → a new store
//
// A folder belongs to one store. It holds every file of every backup once, under the SHA-256 of its bytes: tables of the LSM never
// change, so that the next backup copies those that are new. A backup is its manifest: a text that lists all files with
// length and hash, says what the store held, and ends with a hash over itself, the snapshot id. It is written when all
// it names is durable; whatever an interruption leaves has no manifest and is no backup. docs/format/backup.md has every byte.
//
// Nothing of a folder is believed when it is restored: names are checked, every file is held against length and hash, and the
// store made of them is opened and asked for offset and catalogue before it gets its name.
package backup
