package serve

import (
	"errors"
	"fmt"
	"log"
	"syscall"

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
func serverLog(l zerolog.Logger) *log.Logger { return log.New(lines{l}, "", 0) }

type lines struct{ log zerolog.Logger }

// Write logs one line.
func (l lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && p[len(p)-1] == '\n' {
		p = p[:len(p)-1]
	}
	l.log.Warn().Msg(string(p))
	return n, nil
}
