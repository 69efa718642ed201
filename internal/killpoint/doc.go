// Package killpoint has the named moments at which a proof kills the real binary.
//
// A program that is built without the tag killpoints has none: every function here is empty and is inlined to nothing. With the tag,
// POE_KILL=claimed:3 makes the process send itself SIGKILL when it gets to the moment "claimed" for the third time, after it
// has said so on standard error; and POE_CLOCK_AHEAD=48h sets its clock ahead, so that there is something to sweep.
//
// The moments around a write to the ledger are named by what the write does: claim, accept, mark, settle, abandon, release, burn, upkeep. At
// claim-queued the write has joined a group that nobody has committed; at claim-unsynced it is in the log's file, and not
// synced. The other moments are named where they are.
package killpoint
