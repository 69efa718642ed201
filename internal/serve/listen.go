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

	"github.com/postonce/poe/internal/loglimit"
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
	return log.New(&lines{log: l, clock: clock, told: make([]loglimit.Line, len(provoked))}, "", 0)
}

// lines writes them.
type lines struct {
	log   zerolog.Logger
	clock func() time.Time
	told  []loglimit.Line // beside provoked
}

// provoked begin the lines that whoever can reach the port can have written as often as they like, by a handshake that fails, by frames of HTTP/2, of which
// one connection takes many, or by asking for what the application breaks off. Those who look whether the port is open do so, too.
var provoked = []string{
	"http: TLS handshake error ", "http2: server connection error ", "http2: server closing client connection: ", "http2: received GOAWAY ", "timeout waiting for ",
	"httputil: ReverseProxy read error during body copy: ",
}

// Write logs one line.
func (l *lines) Write(p []byte) (int, error) {
	said, text := l.log.Warn(), string(bytes.TrimRight(p, "\n"))
	for i, kind := range provoked {
		if strings.HasPrefix(text, kind) {
			said = l.told[i].Limit(said, l.clock())
		}
	}
	said.Msg(text)
	return len(p), nil
}
