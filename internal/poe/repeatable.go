package core

import (
	"net/http"
	"strings"
	"time"
)

// The door of repeatable requests (OASIS Repeatable Requests Version 1.0, section 2): an id, and when it was first sent, so that what
// is too old to be remembered is refused, and not executed again.

const (
	repeatableID     = "Repeatability-Request-Id"
	repeatableFirst  = "Repeatability-First-Sent"
	repeatableResult = "Repeatability-Result"
)

// repeatableAhead is how far a client's clock may be ahead of ours.
const repeatableAhead = time.Minute

func openRepeatable(c *call) (naming, *problem) {
	ids, firsts := c.r.Header[repeatableID], c.r.Header[repeatableFirst]
	if len(ids) == 0 && len(firsts) == 0 {
		return nil, nil
	}
	c.w.Header().Set(repeatableResult, "rejected") // until it is not
	if !c.route.has(doorRepeatable) {
		return nil, c.g.problem(problemNotRepeatable)
	}
	if len(ids) != 1 || !opaque(ids[0]) {
		return nil, c.badKey("Repeatability-Request-ID", "is not one id of 1 to 255 printable ASCII characters, on one line")
	}
	if len(firsts) != 1 {
		return nil, c.badKey(repeatableFirst, "is not there, or twice")
	}
	first, err := time.Parse(http.TimeFormat, firsts[0])
	if err != nil {
		return nil, c.badKey(repeatableFirst, "is not a date such as Sun, 06 Nov 1994 08:49:37 GMT")
	}
	now := c.g.now()
	if first.Before(now.Add(-c.route.Retention)) || first.After(now.Add(repeatableAhead)) {
		p := c.g.problem(problemPreconditionFailed)
		p.Parameter, p.Detail = repeatableFirst, "it was first sent longer ago than the server remembers, or in the future"
		return nil, p
	}
	c.salt = firsts[0] // another one means another request
	n := c.newName(doorRepeatable, ids[0], sharedKey(ids[0]))
	n.reused = problemKeyInvalid
	n.marks = markRepeatable
	return repeatable{n}, nil
}

// opaque tells whether s can be an id that is only ever compared.
func opaque(s string) bool {
	return s != "" && len(s) <= maxKey && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// repeatable is the naming of a repeatable request: what is refused says so.
type repeatable struct{ *byName }

func (n repeatable) misuse(s *status) *problem {
	p := n.byName.misuse(s)
	if p != nil {
		n.w.Header().Set(repeatableResult, "rejected")
	}
	return p
}

// markRepeatable says that a request was accepted, which includes one that was accepted before.
func markRepeatable(h http.Header, s *status, _ bool) {
	if s.phase == done || s.phase == unknown || underWay(s.phase) || s.phase == unused && s.record.Status != 0 {
		h.Set(repeatableResult, "accepted")
	}
}
