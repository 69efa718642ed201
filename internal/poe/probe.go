package core

import (
	"net/http"
	"strings"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The policy of probing: the application is asked what became of the action. It executes nothing.

// probing prepares a probe.
func (g *Gate) probing(a *action, r *store.Record) (*action, *replay.Body, error) {
	q := &replay.Request{
		Method: http.MethodGet, Target: expand(a.route.Probe, r.ID), Host: hostAsked(r), Header: http.Header{"Accept": {"*/*"}},
		Body: g.cfg.Spool.New(), Forward: []replay.Field{{Name: "POE-Id", Value: r.ID.String()}},
	}
	a.request = func(store.ID, uint16) *replay.Request { return q }
	a.rescue = &rescue{policy: RecoveryProbe, did: "probed", whole: true, verdict: func(end *ending, answer *replay.Answer) rescued {
		said := a.route.judgeProbe(answer)
		if said == store.Unused && !keepsHost(r) { // claimed when the route said otherwise: at another host nobody knows of it
			said = store.Unknown
		}
		return rescued{said, reason(end, answer)}
	}}
	return a, q.Body, nil
}

// judgeProbe reads the answer to a probe; nil: there was none. 200 says with its content what came of the action, 303 with its Location
// where that is (RFC 9110, section 15.4.4). 404 says that there is nothing yet, and proves nothing about a request that is still on its way,
// unless the application fences.
func (c *route) judgeProbe(answer *replay.Answer) store.State {
	switch {
	case answer == nil:
		return store.Unknown
	case answer.Status == http.StatusOK, answer.Status == http.StatusSeeOther && answer.Header.Get("Location") != "":
		return store.Done
	case answer.Status == http.StatusNotFound && c.ProbeFences:
		return store.Unused
	default:
		return store.Unknown
	}
}

// expand puts the action's id into a template.
func expand(template string, id store.ID) string {
	return strings.ReplaceAll(template, variable, id.String())
}

// keepsHost tells whether the host was kept that the client named, which may be none.
func keepsHost(r *store.Record) bool {
	h, _, err := replay.DecodeHead(r.Request.Head)
	return err == nil && h["Host"] != nil
}

// hostAsked returns the host that the client named, as far as that was kept.
func hostAsked(r *store.Record) string {
	h, _, err := replay.DecodeHead(r.Request.Head)
	if err != nil {
		return ""
	}
	return h.Get("Host")
}
