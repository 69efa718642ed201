package serve

import (
	"net/http"

	"github.com/rs/zerolog"
)

// Public is the server that clients are answered by, with h in the place of the gateway.
func Public(h http.Handler) *http.Server {
	s := &server{opt: Options{Log: zerolog.Nop()}}
	return s.public(h)
}
