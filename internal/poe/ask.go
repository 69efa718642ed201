package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The policy of a program that knows by itself: Route.Recover is asked what became of the action.

// errNothingYet: the function does not know it either.
var errNothingYet = errors.New("nothing is known yet")

// An asked executor asks the function, and writes what it returns as an answer, which so goes the way of all answers: within the limits, and
// without what is for one client only.
type asked struct {
	find  func(context.Context, Unresolved) (Resolution, error)
	about Unresolved
	state Resolved
}

// Execute returns Complete where the function says that it was done.
func (x *asked) Execute(ctx context.Context, _ *replay.Request, rec *replay.Recorder) (replay.Proof, error) {
	found, err := x.find(ctx, x.about)
	switch {
	case err != nil:
		return replay.Broken, err
	case found.State == WasNotDone:
		x.state = WasNotDone // which is no answer
		return replay.Broken, nil
	case found.State != WasDone:
		return replay.Broken, errNothingYet
	}
	if err := found.record(rec); err != nil {
		return replay.Broken, err
	}
	x.state = WasDone
	return replay.Complete, nil
}

// record writes what was found as an answer. What no answer can have is an error; what is for one connection only is left out.
func (f *Resolution) record(rec *replay.Recorder) error {
	code := f.Status
	if code == 0 {
		code = http.StatusOK
	}
	if code < 200 || code > 599 {
		return fmt.Errorf("%w: %d is no status of an answer", replay.ErrNotAnAnswer, code)
	}
	h := make(http.Header, len(f.Header))
	for name, values := range f.Header {
		for _, v := range values {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("%w: %q: %q is no field of one", replay.ErrNotAnAnswer, name, v)
			}
		}
		h[http.CanonicalHeaderKey(name)] = values
	}
	delete(h, "Content-Length") // it is that of the content
	maps.Insert(rec.Header(), replay.EndToEnd(h))
	rec.WriteHeader(code)
	if _, err := rec.Write(f.Body); errors.Is(err, http.ErrBodyNotAllowed) {
		return fmt.Errorf("%w: %w", replay.ErrNotAnAnswer, err)
	} else if err != nil {
		return err
	}
	return nil
}

// asking prepares the question.
func (g *Gate) asking(a *action, r *store.Record) *action {
	x := &asked{find: a.route.Recover, about: Unresolved{
		ID: r.ID.String(), Method: r.Method, Target: r.Target, Attempt: r.Attempts(), Claimed: r.Claimed, Since: r.Finished,
	}}
	a.exec = x
	a.request = func(store.ID, uint16) *replay.Request { return nil }
	a.rescue = &rescue{policy: recoveryFunction, did: "the program was asked", whole: true, verdict: func(end *ending, answer *replay.Answer) rescued {
		switch {
		case x.state == WasNotDone:
			return rescued{store.Unused, "it was not done"}
		case answer == nil:
			if end.err != nil && !errors.Is(end.err, errNothingYet) {
				g.log.Error().Str("error", fmt.Sprint(end.err)).Stringer("id", r.ID).Msg("asking the program what became of an action")
			}
			return rescued{store.Unknown, "nothing is known yet"}
		default:
			return rescued{store.Done, "it was done"}
		}
	}}
	return a
}
