package replay

import "errors"

var (
	// ErrSpoolFull: neither the memory budget nor the quotas of disk and files of the spool, nor its disk, have room for more.
	ErrSpoolFull = errors.New("spool full")
	// ErrReleased: a body or a recorder was used after its Release.
	ErrReleased = errors.New("already released")
	// ErrTooLarge: a message is longer than its limit.
	ErrTooLarge = errors.New("too large")
	// ErrIncomplete: an answer ended before it was complete, so it proves nothing about what was done.
	ErrIncomplete = errors.New("incomplete answer")
	// ErrUnreadable: a stored answer cannot be read now. Nothing of it was written.
	ErrUnreadable = errors.New("unreadable answer")
	// ErrBusy: no connection to the upstream was free; nothing was sent.
	ErrBusy = errors.New("no free upstream connection")
)
