// Package pebblestore is the embedded ledger: a folder of this machine, kept by Pebble.
//
//	DIR/LOCK                            held by the one process that has it open
//	DIR/ledger/                         Pebble's files
//	DIR/bodies/<shelf>/<id>.<term>.<n>  contents too large for a record
//	DIR/reserve                         room that is given up when the disk is full
//	DIR.high-water                      how far the ledger has come; may lie anywhere
//
// Pebble holds four kinds of key:
//
//	a shelf(4) id(16)  → record     n name(32) → id
//	q due(8) id(16)    → nothing    m word     → format, identity, secret, clock, restore
//
// # How a write becomes durable
//
// Pebble shows a commit to readers before it is synced, and a crash then takes it back. So the order is:
//
//  1. A write locks the stripes of its id and of every name and child that it touches, in ascending order.
//     What it finds only while it reads (the holder of a name, the names of a released record) is added, and it
//     starts again with the larger set.
//  2. It reads, and store.DecideClaim or store.DecideAdvance decides.
//  3. It joins the group that waits for the disk. A goroutine of the store, which ends with Close, commits one group after
//     the other, each with one sync, while the next one gathers.
//  4. Only when the sync has ended does the write release its stripes. A Lookup takes the stripe for reading, and so
//     never sees what a crash could take back.
//
// The stripes alone give correctness; the group only makes a sync serve many. A write that has joined a group is not
// given up, even if its context ends: its stripes may be released only after the sync.
//
// Turned down: marking unsynced records in a map beside Pebble (each reader would have to look in two places, in the
// right order), and reading from a synced snapshot (Pebble has none).
//
// # What is refused
//
// Open compares the ledger with its high-water file, and reads the MANIFEST and the logs through before Pebble does: see guard and intact. A
// ledger that has forgotten something is not opened; Put makes what it has forgotten worthless, and then it is.
//
// # What ends the process
//
// After a failed fsync nobody knows what is on the disk, and asking again makes it worse: Linux reports the
// error once and forgets the pages. So a failed commit, damage found while reading, and every other state that Pebble calls
// fatal go to Config.Fatal, which does not return.
package pebblestore
