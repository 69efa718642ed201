package core

import (
	"context"
	"net/http"
	"slices"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The policy of repeating: the request is sent again as it was, under the same POE-Id and the same Idempotency-Key, to an application that
// recognises them. It executes the request if it has not yet, and gives the answer that there is if it has.

// sentAgain begins the line of history of a repeat.
const sentAgain = "sent again"

// repeating prepares a repeat.
func (g *Gate) repeating(ctx context.Context, a *action, r *store.Record) (*action, *replay.Body, error) {
	q, err := g.storedRequest(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	a.request = func(id store.ID, attempt uint16) *replay.Request {
		q.Forward = forwarded(nil, q.Header, id, attempt)
		return q
	}
	promised := promised(r)
	a.rescue = &rescue{policy: RecoveryRepeat, did: sentAgain, verdict: func(end *ending, answer *replay.Answer) rescued {
		return rescued{a.route.judgeRepeat(answer, promised), reason(end, answer)}
	}}
	return a, q.Body, nil
}

// judgeRepeat reads the answer to a repeat; nil: there was none. It is as strict as can be about "not done": that must hold for the request
// that was sent before, which may still be at work, and not for the repeat alone.
//
// An accepted action cannot be unused: what says that it was not done is its outcome.
func (c *route) judgeRepeat(answer *replay.Answer, promised bool) store.State {
	if answer == nil || c.aboutItselfOnly(answer) {
		return store.Unknown
	}
	s := c.judge(answer.Status, answer.Header.Get("Retry-After") != "")
	switch {
	case answer.Where == store.Streamed:
		return streamedVerdict(s)
	case s == store.Unused && promised:
		return store.Done
	default:
		return s
	}
}

// aboutItselfOnly tells whether an answer to a repeat says nothing about the request that was sent before it: it was given in front of
// the place where keys are recognised, or by a gateway that knows no more of the earlier one than we do, or is what that one has led to, or asks to come again.
func (c *route) aboutItselfOnly(answer *replay.Answer) bool {
	switch answer.Status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect, // to be sent elsewhere, which the first one need not have been
		http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, // credentials end, too
		http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest, // a router's word
		http.StatusConflict,                            // the earlier one is still at work (draft-ietf-httpapi-idempotency-key-header-07, section 2.7)
		http.StatusGone, http.StatusPreconditionFailed, // what it has deleted, the tag that it has changed
		http.StatusRequestHeaderFieldsTooLarge:
		return true
	default:
		return gatewaysWord(answer.Status) || c.releases(answer)
	}
}

// releases tells whether an answer says, whatever consumes, that its request was not done and may come again.
func (c *route) releases(answer *replay.Answer) bool {
	switch answer.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusServiceUnavailable:
		return answer.Header.Get("Retry-After") != "" || slices.Contains(c.Release, answer.Status)
	default:
		return slices.Contains(c.Release, answer.Status)
	}
}
