// Package store holds the words of the ledger: what an action's record says, how it is named,
// and what a ledger must do with it. It holds no storage of its own; memstore and pebblestore do,
// and storetest is the suite that each of them passes. What a write is allowed to do is decided here, once for
// all of them, by DecideClaim and DecideAdvance; a ledger brings the locks, or the transaction, and the disk.
//
// An action is in one of these states, and moves only along these lines:
//
//	absent ──Claim──▶ Running ──Advance──▶ Done
//	  │                │   └──Advance────▶ Unknown ──Advance──▶ Done │ Unused │ Burned │ Queued (what was accepted)
//	  │                ├──Advance──▶ Unused ──Claim──▶ Running (next attempt)
//	  │                │               └──Advance──▶ Burned │ Done (after somebody's word; an answer came after all)
//	  │                └──Advance──▶ Sent (what is marked) ──Advance──▶ Done │ Unknown │ Unused
//	  ├──Claim──▶ Burned
//	  └──Claim──▶ Queued ──Advance──▶ Sent ──Advance──▶ Done │ Unknown
//	               │                   └──Advance──▶ Queued (a complete answer said "not done": later again)
//	               └──Advance──▶ Burned │ Done (a callback; or as above)
//
// Every state may also be advanced to itself: for a later Due, or a line of history. Moves has the same in code.
//
// What every ledger guarantees, and storetest checks:
//
//  1. Claim has at most one winner for an id, and for each name, in any process, whatever crashes.
//  2. When Claim or Advance returns nil, its write is durable: it survives a kill and a power cut.
//  3. Nothing is ever read that is not durable. A reader waits for the write in front of it, or
//     sees what was there before; it never sees what a crash could take back.
//  4. Every write carries a random Term and names the Term that it replaces. A repeated write finds
//     its own term and succeeds; the write of an owner that was replaced gets ErrStale.
//  5. A write has three ends: nil, it is done; an error for which Refused is true, it surely was not done;
//     any other error, nobody knows, and only Lookup tells.
//
// A ledger that only prose holds together was turned down: each of these lines has its cases in storetest.
package store
