package serve

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// A ListenError says that an address could not be listened on.
type ListenError struct {
	Address string
	Flag    string // that chooses another
	Err     error
}

// Error names the address.
func (e *ListenError) Error() string { return fmt.Sprintf("listening on %s: %v", e.Address, e.Err) }

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *ListenError) Hint() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return fmt.Sprintf("another program listens there: stop it, or choose another address with %s", e.Flag)
	}
	return fmt.Sprintf("choose another address with %s", e.Flag)
}

// serverLog hands what net/http has to say to our log, as warnings.
func serverLog(l zerolog.Logger, clock func() time.Time) *log.Logger {
	return log.New(&lines{log: l, clock: clock}, "", 0)
}

// lines writes them. package log calls it from one goroutine at a time.
type lines struct {
	log   zerolog.Logger
	clock func() time.Time
	said  time.Time // when a handshake was told of last
	left  int       // how many were not since
}

// handshakesEvery is how often it is logged at most that a handshake failed: whoever can reach the port can make that happen as often as they like, and those who look whether it is
// open do.
const handshakesEvery = time.Minute

// Write logs one line.
func (l *lines) Write(p []byte) (int, error) {
	said := l.log.Warn()
	if bytes.HasPrefix(p, []byte("http: TLS handshake error ")) {
		now := l.clock()
		if !l.said.IsZero() && now.Sub(l.said) < handshakesEvery {
			l.left++
			return len(p), nil
		}
		if l.left > 0 {
			said = said.Int("left_out", l.left)
		}
		l.said, l.left = now, 0
	}
	said.Msg(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}
