package core

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/postonce/poe/internal/replay"
)

// A ready is what is said of an action that is done to those who come back to it, and is the same for all of them. Whoever is the first
// to need a part of it makes that part. Nobody changes what it holds.
type ready struct {
	outcome         string // the path
	state, replayed string // POE-State, without and with replayed
	link            string
	refusals        [comparisons]atomic.Pointer[document] // the 405s
	stored          atomic.Pointer[replay.Stored]         // the answer without its content
}

// held is a record that the front has, with what is kept ready of it.
type held = replay.Held[ready]

// A document is the content of an answer of ours.
type document struct {
	body   []byte
	length string
}

func newDocument(body []byte) *document {
	return &document{body: body, length: strconv.Itoa(len(body))}
}

// A comparison tells what a 405 says of the body that came with it.
type comparison uint8

const (
	notCompared comparison = iota
	sameBody
	otherBody
	comparisons
)

// keepReady finds, or makes, what is kept ready of an action that is done. Of others nothing is. It is kept where the front keeps the record
// decoded, and leaves with it: so it is never out of date, and takes some megabytes at most.
func (g *Gate) keepReady(s *status) {
	if s.phase != done || s.ready != nil {
		return
	}
	if s.held != nil {
		s.ready = s.held.Aside.Load()
	}
	if s.ready != nil {
		return
	}
	state := string(s.appendState(nil))
	link := g.statusLink(s)
	s.ready = &ready{outcome: outcomeIn(link), link: link, state: state, replayed: state + replayedFlag}
	if s.held != nil && !s.held.Aside.CompareAndSwap(nil, s.ready) {
		s.ready = s.held.Aside.Load()
	}
}

// consumed answers 405: whose POST won, when, and with which result.
func (c *call) consumed(s *status) {
	g := c.g
	c.w.Header()["Allow"] = []string{"GET, HEAD"}
	how := c.comparison(s)
	slot := &s.ready.refusals[how]
	if kept := slot.Load(); kept != nil && !prefersHTML(c.r) {
		g.metrics.problems[problemConsumed].Inc()
		g.writeDocument(c.w, kept, http.StatusMethodNotAllowed, "application/problem+json")
		return
	}
	p := g.problem(problemConsumed)
	if s.record.Status >= http.StatusBadRequest {
		p.words = failedWords
	}
	p.ExecutedAt, p.OutcomeStatus = timePointer(s.record.Finished), s.record.Status
	if how != notCompared {
		same := how == sameBody
		p.RequestMatches = &same
	}
	if how == otherBody {
		p.words = problemBodyDiffers
		if !prefersHTML(c.r) { // a page says it with those
			p.Detail = "another request was executed with this link; this one was not"
		}
	}
	p.slot = slot
	g.write(c.w, c.r, p.about(g, s))
}

// comparison compares this request's body with the one that was executed. One of another length is another without a look, unless it may be other bytes
// each time, and so is one over the limit where that one was not. Nothing is compared where the client waits to be asked for its body, or that does not arrive.
func (c *call) comparison(s *status) comparison {
	executed := &s.record.Request
	other := varies(c.r.Header) || s.record.Digest != [32]byte{} // that is known of what was executed
	if c.body == nil {
		switch n := c.r.ContentLength; {
		case c.r.Method != c.claims.Method:
			return notCompared
		case n >= 0 && n != executed.Size && !other:
			return otherBody
		case expectsContinue(c.r):
			return notCompared
		}
	}
	if other {
		return c.contents(s)
	}
	sum, err := c.bodySum()
	switch {
	case c.g.outgrows(err, executed.Size):
		return otherBody
	case err != nil:
		return notCompared
	case sum == executed.Digest:
		return sameBody
	default:
		return otherBody
	}
}

// contents is comparison of what the bodies are, whatever bytes they are. What was executed is known as that only if its bytes may vary too.
func (c *call) contents(s *status) comparison {
	executed := &s.record.Request
	switch err := c.readBody(); {
	case c.g.outgrows(err, executed.Size):
		return otherBody
	case err != nil:
		return notCompared
	case c.digest == executed.Digest:
		return sameBody
	case s.record.Digest == [32]byte{}:
		return notCompared
	}
	if same, _ := c.same(&s.record); same {
		return sameBody
	}
	return otherBody
}

// varies tells whether a body may be other bytes each time that it is sent: a boundary is made anew, and a compressor promises nothing.
func varies(h http.Header) bool {
	if len(h["Content-Encoding"]) > 0 {
		return true
	}
	const multipart = "multipart/"
	lines := h["Content-Type"]
	return len(lines) == 1 && len(lines[0]) > len(multipart) && strings.EqualFold(lines[0][:len(multipart)], multipart)
}
