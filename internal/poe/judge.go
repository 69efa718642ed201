package core

import (
	"net/http"
	"slices"

	"github.com/postonce/poe/internal/store"
)

// judge reads a complete answer: what it says about the action. It is the table of docs/protocol.md, "Execution and
// outcome", and nothing else decides it.
//
// The rows are in order of strength: what the route releases, then consume: any, then the rest.
func (c *route) judge(status int, retryAfter bool) store.State {
	switch {
	case slices.Contains(c.Release, status), status == http.StatusServiceUnavailable && retryAfter:
		return store.Unused
	case c.Consume == ConsumeAny:
		return store.Done
	case status == http.StatusTemporaryRedirect, status == http.StatusPermanentRedirect:
		return store.Unused // RFC 9110, sections 15.4.8 and 15.4.9: to be sent elsewhere, and so not done here
	case status >= 200 && status < 400:
		return store.Done
	case status >= 400 && status < 500:
		return store.Unused // 405 too: method refused
	case gatewaysWord(status):
		return store.Unknown
	case status >= 500 && status < 600:
		return store.Done // a failure is an outcome
	default:
		return store.Unknown // no class of HTTP's: nobody can say what it means
	}
}

// gatewaysWord tells whether status is what a gateway says about somebody else: it does not know either. 511 is that of one between us and the network that the
// application is on, and not for applications to say (RFC 6585, section 6).
func gatewaysWord(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusNetworkAuthenticationRequired:
		return true
	default:
		return status >= 520 && status <= 527 || status == 530
	}
}
