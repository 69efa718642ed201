// Package replay holds what passes through a gate: a complete request, the answer to it, and the proof of how far an
// execution got. It records an answer while it is produced, keeps what is on its way in a bounded spool,
// and repeats a stored answer byte for byte.
//
//	client ─▶ Body (spool) ─▶ Request ─▶ executor ─▶ Recorder ─▶ Answer ─▶ store.Blob ─▶ Repeat ─▶ client
//
// Nothing here decides whether a request may run; that is the engine's.
package replay
