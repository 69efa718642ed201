package serve

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"strings"
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
	return log.New(&lines{log: l, clock: clock, told: make(map[string]told)}, "", 0)
}

// lines writes them. package log calls it from one goroutine at a time.
type lines struct {
	log   zerolog.Logger
	clock func() time.Time
	told  map[string]told // by what is in provoked
}

// told says of lines that begin alike when one was written last, and how many were left out since.
type told struct {
	at   time.Time
	left int
}

// provoked begin the lines that whoever can reach the port can have written as often as they like, by a handshake that fails, or by frames of HTTP/2, of which
// one connection takes many. Those who look whether the port is open do so, too.
var provoked = []string{
	"http: TLS handshake error ", "http2: server connection error ", "http2: server closing client connection: ", "http2: received GOAWAY ", "timeout waiting for ",
}

// provokedEvery is how often one of a kind is logged at most.
const provokedEvery = time.Minute

// Write logs one line.
func (l *lines) Write(p []byte) (int, error) {
	said, text := l.log.Warn(), string(bytes.TrimRight(p, "\n"))
	for _, kind := range provoked {
		if !strings.HasPrefix(text, kind) {
			continue
		}
		now, before := l.clock(), l.told[kind]
		if !before.at.IsZero() && now.Sub(before.at) < provokedEvery {
			before.left++
			l.told[kind] = before
			return len(p), nil
		}
		if before.left > 0 {
			said = said.Int("left_out", before.left)
		}
		l.told[kind] = told{at: now}
	}
	said.Msg(text)
	return len(p), nil
}
