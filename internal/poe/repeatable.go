package core

import (
	"context"
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
	if first.After(now.Add(repeatableAhead)) {
		return nil, c.outOfWindow()
	}
	c.salt = firsts[0] // another one means another request
	c.since = first.Add(-repeatableAhead)
	n := c.newName(doorRepeatable, ids[0], sharedKey(ids[0]))
	n.reused = problemKeyInvalid
	n.marks = n.markRepeatable
	return repeatable{n, first.Before(now.Add(-c.route.Retention))}, nil
}

// outOfWindow refuses a request that may have been forgotten.
func (c *call) outOfWindow() *problem {
	p := c.g.problem(problemPreconditionFailed)
	p.Parameter, p.Detail = repeatableFirst, "it was first sent longer ago than the server remembers, or in the future"
	return p
}

// opaque tells whether s can be an id that is only ever compared.
func opaque(s string) bool {
	return s != "" && len(s) <= maxKey && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// repeatable is the naming of a repeatable request: what is refused says so. One that is out of the window is not executed, but what is known of it is
// answered: the window may have been a longer one when it was executed.
type repeatable struct {
	*byName
	old bool // it was first sent longer ago than the retention
}

func (n repeatable) recall(s *status) (free, known bool) {
	free, known = n.byName.recall(s)
	return free && !n.old, known
}

// find: the ledger knows how far it has forgotten, whatever the retention was then, and refuses a claim of what it may have known (late).
func (n repeatable) find(ctx context.Context) (status, error) {
	s, err := n.byName.find(ctx)
	if err == nil && (n.old && s.phase == unused || n.late && s.record.ID.IsZero()) {
		s = status{phase: gone}
	}
	return s, err
}

func (n repeatable) misuse(s *status) *problem {
	var p *problem
	if over := s.phase != unknown && !n.g.now().Before(n.until(&s.record)); n.old && over || s.record.ID.IsZero() {
		p = n.outOfWindow()
	} else {
		p = n.byName.misuse(s)
	}
	if p != nil {
		n.w.Header().Set(repeatableResult, "rejected")
	}
	return p
}

// markRepeatable says that a request was accepted, which includes one that was accepted before, and one that a guard answers as another that was.
func (n *byName) markRepeatable(h http.Header, s *status, replayed bool) {
	if !replayed && !n.names(&s.record) {
		return
	}
	if s.phase == done || s.phase == unknown || underWay(s.phase) || s.phase == unused && n.end.answer != nil { // of this try, and not of one before
		h.Set(repeatableResult, "accepted")
	}
}
