package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// What a person decides about an action. The decision is one write, compared with the record that it was made about: a late answer, recovery,
// a worker or another person may be quicker, and then nothing is written. Nothing here executes anything.

// A Verdict is what a person says of an action.
type Verdict string

// The verdicts.
const (
	AsDone   Verdict = "done"   // it was executed, and Response is its outcome
	AsFailed Verdict = "failed" // it was executed or not, and is over: its outcome is an answer that says so
	AsUnused Verdict = "unused" // it was surely not executed, and may be
	AsBurned Verdict = "burned" // it will not be executed (again)
)

// A Decision is a verdict with all that belongs to it.
type Decision struct {
	ID       string      // of the action
	As       Verdict     // required
	Reason   string      // for the history, which the receipt shows; one line, required
	By       string      // who decides, for the history; "": nobody is named
	Seen     string      // Version of what the decision was made about; "": whatever stands
	Response io.Reader   // with AsDone: the answer, as replay.RecordWritten reads it; or
	Answer   *Resolution // the same in parts
	Status   int         // with AsFailed: of the answer, 400 to 599; 0: 500
}

// Errors of Decide that are nobody's fault but the asker's.
var (
	ErrBadDecision = errors.New("this cannot be decided")        // the decision makes no sense as it is
	ErrTooLarge    = errors.New("the answer is over the limit")  // of Config.MaxResponse
	ErrUndecided   = errors.New("nobody knows whether this was") // the ledger did not say whether it is written
)

// A ConflictError says that an action is not what a decision was made about. Nothing was written.
type ConflictError struct {
	State string // where it stands, as POE-State says it
	Why   string
}

// Error says why.
func (e *ConflictError) Error() string { return e.Why }

// maxReason is the longest reason, in bytes.
const maxReason = 1000

// personForm is how people are named in the history.
var personForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

// Decide records a person's decision and returns the action as it stands then. It returns once that is durable.
//
// AsDone, AsFailed and AsUnused are for unknown actions; AsBurned is for unused, accepted and unknown ones. One that was accepted to be
// executed later is not unused again but accepted: a client was told that it will be done. After AsUnused the next attempt has the
// Idempotency-Key of the one before, so that an application which knows keys can still tell.
//
// Errors: ErrNoAction, ErrBadDecision, ErrTooLarge, and *ConflictError, where it is another state, or runs in this process, or was
// changed meanwhile; surely nothing was written. After ErrUndecided nobody knows: look again.
func (g *Gate) Decide(ctx context.Context, d Decision) (Action, error) {
	if err := d.check(); err != nil {
		return Action{}, err
	}
	r, err := g.record(ctx, d.ID)
	if err != nil {
		return Action{}, err
	}
	if err := g.decidable(&d, &r); err != nil {
		return Action{}, err
	}
	if err := g.takenBack(ctx, &r); err != nil {
		return Action{}, err
	}
	next, err := g.decided(ctx, &d, &r)
	if err != nil {
		return Action{}, err
	}
	ctx = context.WithoutCancel(ctx)
	if err := g.announce(ctx, &r); err != nil {
		g.discard(ctx, next.ID, next.Response)
		return Action{}, err
	}
	also := g.also(ctx, &r, &next)
	got, err := g.writeAdvance(ctx, &r, &next, also)
	g.discardAnswer(ctx, next.ID, &next.Response, got, err)
	switch {
	case errors.Is(err, store.ErrStale) && got != nil:
		return Action{}, g.conflict(got, "it has changed in this moment: ")
	case err != nil && store.Refused(err):
		return Action{}, fmt.Errorf("deciding about %s: %w", d.ID, err)
	case err != nil:
		return Action{}, fmt.Errorf("%w written: deciding about %s: %w", ErrUndecided, d.ID, err)
	}
	g.log.Info().Stringer("id", r.ID).Str("route", r.Route).Stringer("from", r.State).Stringer("to", got.State).Str("who", d.who()).Msg("a person has decided")
	g.follow(ctx, hostAsked(&r), got, also)
	return g.action(got), nil
}

// follow does what comes after a decision about an action that was asked of host: what a worker has to do, and what the end of an action does by itself.
func (g *Gate) follow(ctx context.Context, host string, r *store.Record, also store.Also) {
	g.front.Add(r)
	g.metrics.rests(phaseOf(r.State))
	if len(also.Spawn) > 0 || r.State == store.Queued {
		g.nudge(g.nudged, g.owed)
	}
	if g.hasDeleted(&status{phase: phaseOf(r.State), record: *r}) {
		g.deleted(ctx, g.createdBefore(ctx, host, r))
	}
	if r.Kind == store.Compensation {
		g.followUp(ctx, r)
	}
}

// who is how the history names whose decision it is.
func (d *Decision) who() string {
	if d.By == "" {
		return "operator"
	}
	return "operator:" + d.By
}

// check tells what is wrong with a decision, whatever it is about.
func (d *Decision) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrBadDecision, fmt.Sprintf(format, args...))
	}
	d.Reason = strings.TrimSpace(d.Reason)
	switch {
	case d.As != AsDone && d.As != AsFailed && d.As != AsUnused && d.As != AsBurned:
		return bad("%q is none of done, failed, unused, burned", d.As)
	case d.Reason == "":
		return bad("a reason is missing: it is kept with the action")
	case len(d.Reason) > maxReason:
		return bad("the reason is longer than %d bytes", maxReason)
	case !utf8.ValidString(d.Reason) || strings.ContainsFunc(d.Reason, unicode.IsControl):
		return bad("the reason is not one line of text")
	case d.By != "" && !personForm.MatchString(d.By):
		return bad("%q is not a name: a letter or digit, then letters, digits and ._@+-, 64 at most", d.By)
	case d.As == AsDone && d.Response == nil && d.Answer == nil:
		return bad("the response is missing: what is done has an outcome")
	case d.As != AsDone && (d.Response != nil || d.Answer != nil):
		return bad("a response is for what is done")
	case d.As != AsFailed && d.Status != 0:
		return bad("a status is for what has failed")
	case d.Status != 0 && (d.Status < 400 || d.Status > 599):
		return bad("%d is no failure: 400 to 599 are", d.Status)
	}
	return nil
}

// decidable tells why the action cannot be what the decision says. What runs in this process is left alone whatever the ledger says of it: its
// own end will tell.
func (g *Gate) decidable(d *Decision, r *store.Record) error {
	switch {
	case g.flights.of(r.ID) != nil:
		return &ConflictError{State: string(running), Why: "it is being executed by this process: its own end will tell"}
	case d.Seen != "" && d.Seen != version(r.Term):
		return g.conflict(r, "it has changed since you looked: ")
	case r.State == store.Unknown, d.As == AsBurned && (r.State == store.Unused || r.State == store.Queued):
		return nil
	case d.As == AsBurned:
		return g.conflict(r, "only what is unused, accepted or unknown can be burned: ")
	default:
		return g.conflict(r, "only what is unknown can be decided: ")
	}
}

// takenBack tells whether what takes the action back has not ended. It could take back what is executed on the strength of the decision.
func (g *Gate) takenBack(ctx context.Context, r *store.Record) error {
	if r.Undo.IsZero() || r.State != store.Unknown {
		return nil
	}
	child, err := g.store.Lookup(ctx, store.ByID(r.Undo))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && child.State == store.Burned, err == nil && child.State == store.Done && child.Status >= 300:
		return nil
	case err != nil:
		return fmt.Errorf("looking up what takes %s back: %w", r.ID, err)
	case child.State == store.Done: // its end has not come here yet
		g.compensated(context.WithoutCancel(ctx), *r)
		if now, err := g.store.Lookup(ctx, store.ByID(r.ID)); err == nil {
			return g.conflict(&now, "it was taken back by "+child.ID.String()+": ")
		}
	}
	return g.conflict(r, "it is being taken back by "+child.ID.String()+", which is "+child.State.String()+": decide about that one first, or burn it; ")
}

// conflict says where an action stands that a decision does not fit.
func (g *Gate) conflict(r *store.Record, why string) error {
	s := g.at(r, g.now())
	why += "it is " + s.phase.word()
	if s.phase == done {
		why += ", with status " + statusText(r.Status)
	}
	if !r.Finished.IsZero() && !underWay(s.phase) {
		why += ", since " + r.Finished.Format(time.RFC3339)
	}
	if n := len(r.History); n > 0 && r.History[n-1].To == r.State {
		why += ", by " + r.History[n-1].Who
	}
	return &ConflictError{State: s.phase.word(), Why: why}
}

// decided is the record as the decision makes it. What is large of an answer lies beside the ledger when it returns.
func (g *Gate) decided(ctx context.Context, d *Decision, r *store.Record) (store.Record, error) {
	next := *r
	next.Term, next.Finished, next.Due = g.newTerm(), g.now(), time.Time{}
	switch d.As {
	case AsDone, AsFailed:
		next.State, next.Request = store.Done, g.finished(ctx, r)
		if err := g.answerBy(ctx, d, &next); err != nil {
			return store.Record{}, err
		}
	case AsUnused:
		next.State, next.Status = store.Unused, 0
		if !promised(r) {
			next.Request = idle(r)
		} else {
			next.State, next.Claimed, next.Due, next.Undo = store.Queued, next.Finished, next.Finished, store.ID{}
		}
	case AsBurned:
		next.State, next.Status, next.Request = store.Burned, 0, withoutContent(r.Request)
	}
	next.Note(store.Event{At: next.Finished, From: r.State, To: next.State, Who: d.who(), Why: d.Reason, Status: next.Status})
	if next.State == store.Queued { // it has not come to rest
		next.Finished = time.Time{}
	}
	return next, nil
}

// answerBy gives next the answer that the decision says it had.
func (g *Gate) answerBy(ctx context.Context, d *Decision, next *store.Record) error {
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: g.cfg.Spool, Limit: g.cfg.MaxResponse})
	defer rec.Release()
	if d.As == AsDone {
		var err error
		if d.Answer != nil {
			err = d.Answer.record(rec)
		} else {
			err = replay.RecordWritten(rec, d.Response)
		}
		if errors.Is(err, replay.ErrNotAnAnswer) {
			return fmt.Errorf("%w: the response: %w", ErrBadDecision, err)
		}
		if err != nil {
			return err
		}
	} else if err := g.recordFailure(rec, d.Status, next.ID); err != nil {
		return err
	}
	answer, err := rec.Finish()
	if err != nil {
		return err
	}
	if answer.Where == store.Purged {
		return fmt.Errorf("%w: it has %d bytes, and %d are kept", ErrTooLarge, answer.Size, g.cfg.MaxResponse)
	}
	next.Status, next.Response = answer.Status, g.keep(context.WithoutCancel(ctx), next, answer)
	if next.Response.Where == store.Purged {
		return fmt.Errorf("%w: storing the response", store.ErrUnavailable)
	}
	return nil
}

// failure is the outcome of what a person has called failed: a problem (RFC 9457) without a type of its own, since it says no more than its
// status.
type failure struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Receipt string `json:"receipt"`
}

func (g *Gate) recordFailure(rec *replay.Recorder, code int, id store.ID) error {
	if code == 0 {
		code = http.StatusInternalServerError
	}
	title := http.StatusText(code)
	if title == "" {
		title = "Failed"
	}
	rec.Header().Set("Content-Type", "application/problem+json")
	rec.WriteHeader(code)
	return json.NewEncoder(rec).Encode(failure{
		Type: "about:blank", Title: title, Status: code,
		Detail:  "A person has decided that this has failed. The receipt says when and why.",
		Receipt: g.publicURL + receiptPath(string(g.appendOutcome(nil, id))),
	})
}
