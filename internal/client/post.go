package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A Notice is told before something is repeated.
type Notice struct {
	Why     string        // "there is no connection (connect: connection refused)"
	What    string        // "trying the same URI again"
	Wait    time.Duration // how long until then
	Attempt int           // the number of the attempt to come, from 2
}

// PostRequest is what is to be done once.
type PostRequest struct {
	URL    string // the target, or a POE URI for it
	Body   Body
	Minted func(uri string) // is told the POE URI before it is used; nil: nobody is
}

// Post POSTs a body once and returns the answer once it is definite, repeating the same request for as long as ctx
// lives. If the URL is no POE URI it mints one first.
//
// The answer is what the one execution came to, whether it came at once or was fetched afterwards. The error is an
// UnguardedError where poe does not stand in front, ErrOtherRequest where the POE URI was used for another one, a ProblemError where poe refused for good, an UnsettledError where
// ctx ended first, and otherwise something that no repeat would mend. The request was executed at most once in any case.
func (c *Client) Post(ctx context.Context, r PostRequest) (Answer, error) {
	target, err := parse(r.URL)
	if err != nil {
		return Answer{}, err
	}
	p := &posting{c: c, request: r, uri: target, pause: c.newBackOff()}
	step := p.post
	if !c.hasToken(target) {
		step = p.mint
	}
	for {
		v := step(ctx)
		if v.next == nil {
			return v.answer, v.err
		}
		if ctx.Err() != nil || v.why != "" && p.wait(ctx, v) != nil {
			e := &UnsettledError{Sent: p.sent, State: p.state, Last: v.err, Cause: context.Cause(ctx)}
			if !v.implied {
				e.Why = v.why
			}
			return Answer{}, e
		}
		step = v.next
	}
}

// newBackOff returns pauses that grow by half and vary by half, so that a crowd of clients does not come back in step.
func (c *Client) newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = c.cfg.Shortest, c.cfg.Longest
	b.Reset()
	return b
}

// A posting is one Post under way.
type posting struct {
	c       *Client
	request PostRequest
	uri     *url.URL
	guarded bool   // that poe is there is proved: it answered for the URI. That it minted it proves nothing, requests to the target may be led elsewhere
	sent    bool   // a request may have arrived
	state   string // the last that an answer said
	open    bool   // what was sent before may have been executed
	pause   *backoff.ExponentialBackOff
	tries   int
}

// A step makes one exchange and says what follows.
type step func(context.Context) verdict

// A verdict is the end, or the next step.
type verdict struct {
	answer Answer
	err    error         // at the end: the result; otherwise what went wrong
	next   step          // nil: this is the end
	why    string        // to pause before the next step; "": at once
	after  time.Duration // what the server asks for

	implied bool // the state of the action says why, too
}

func end(a Answer, err error) verdict { return verdict{answer: a, err: err} }

// wait pauses before a repeat. The error is that of ctx.
func (p *posting) wait(ctx context.Context, v verdict) error {
	p.tries++
	d := max(p.pause.NextBackOff(), v.after)
	if p.c.cfg.Notice != nil {
		p.c.cfg.Notice(Notice{Why: v.why, What: p.what(), Wait: d, Attempt: p.tries + 1})
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (p *posting) what() string {
	switch {
	case p.state == "done":
		return "fetching the outcome again"
	case p.c.hasToken(p.uri):
		return "trying the same URI again"
	default:
		return "asking for a POE URI again"
	}
}

// mint gets a POE URI. It is repeated where the server is away, since minting leaves no trace.
func (p *posting) mint(ctx context.Context) verdict {
	uris, err := p.c.Mint(ctx, MintRequest{URL: p.request.URL, Method: http.MethodPost})
	if err != nil {
		return p.mintFailed(err)
	}
	p.uri, err = parse(uris[0].URI)
	if err != nil {
		return end(Answer{}, err)
	}
	if p.request.Minted != nil {
		p.request.Minted(uris[0].URI)
	}
	return verdict{next: p.post}
}

func (p *posting) mintFailed(err error) verdict {
	var refused *ProblemError
	var none *NoMintError
	var address *URLError
	switch {
	case errors.As(err, &address):
		return end(Answer{}, err)
	case errors.As(err, &refused) && refused.Retry != "same":
		return end(Answer{}, err)
	case errors.As(err, &refused):
		return verdict{err: err, next: p.mint, why: "the server cannot mint right now", after: refused.Answer.retryAfter()}
	case errors.As(err, &none) && !away(none.Code):
		return end(Answer{}, err)
	case errors.As(err, &none):
		return verdict{err: err, next: p.mint, why: fmt.Sprintf("there is no server behind this address right now (%d)", none.Code)}
	default:
		return p.broken(err, p.mint)
	}
}

// away tells whether a status is that of something in front of a server which is not there.
func away(code int) bool {
	return code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
}

// post is the request itself.
func (p *posting) post(ctx context.Context) verdict {
	a, err := p.c.do(ctx, request{method: http.MethodPost, url: p.uri, body: &p.request.Body, accept: p.c.accept()})
	p.sent = p.sent || !isDial(err)
	if err != nil {
		return p.unanswered(err)
	}
	if a.State.Name == "" {
		return p.unguarded(a, http.MethodPost)
	}
	p.guarded, p.state, p.open = true, a.State.Name, a.State.Name != "unused"
	return p.judge(a)
}

// unanswered follows a POST that may have arrived: what was known before it no longer holds, but for what it cannot change. What was being
// executed may have ended, whether this one arrived or not.
func (p *posting) unanswered(err error) verdict {
	p.open = p.open || !isDial(err)
	switch p.state {
	case "done", "unknown":
	case "unused":
		if !isDial(err) {
			p.state = ""
		}
	default:
		p.state = ""
	}
	if !p.guarded && p.sent {
		return p.broken(err, p.probe)
	}
	return p.broken(err, p.post)
}

// judge is the table in the package's comment.
func (p *posting) judge(a Answer) verdict {
	if a.aboutAnother() {
		return end(a, ErrOtherRequest)
	}
	again := verdict{next: p.post, after: a.retryAfter(), implied: true}
	switch a.State.Name {
	case "done":
		if a.Code == http.StatusMethodNotAllowed {
			return verdict{next: p.fetch}
		}
	case "running", "sent", "accepted":
		if a.Code == http.StatusConflict || a.Code == http.StatusAccepted { // 202: it is executed later, and no outcome yet
			again.why = "it is being executed"
			return again
		}
	case "unknown":
		if a.Code == http.StatusConflict || a.Code > http.StatusNotImplemented {
			again.why = "nobody knows yet whether it was executed"
			if problem, ours := p.c.problem(a); ours && problem.Name() == "ledger-unavailable" { // nobody could be asked
				again.why, again.implied = unrecorded, false
			}
			return again
		}
	case "unused":
		if notDone(a.Code) {
			again.why = fmt.Sprintf("it was not executed (%s)", a.Status)
			return again
		}
	}
	return p.definite(a)
}

// notDone tells whether a status, on an action that is still unused, invites a repeat.
func notDone(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	default:
		return away(code)
	}
}

// definite ends with the answer, or with the problem that it is, unless the problem invites a repeat.
func (p *posting) definite(a Answer) verdict {
	problem, ok := p.c.problem(a)
	switch {
	case !ok || problem.Name() == "outcome-purged":
		return end(a, nil)
	case problem.Retry == "same":
		return verdict{next: p.post, why: fmt.Sprintf("it was refused for now (%d %s)", a.Code, problem.Name()), after: a.retryAfter()}
	default:
		return end(a, &ProblemError{Problem: problem, Answer: a})
	}
}

// unrecorded is what becomes of requests where the ledger does not answer: nothing, whatever became of them before.
const unrecorded = "the server cannot keep its records right now"

// unguarded ends with what answered without POE-State. Some of its kind are poe's all the same: a refusal of the token,
// which is about no action, a ledger that cannot even be asked for the state, and an application that did not say who may see the outcome.
func (p *posting) unguarded(a Answer, method string) verdict {
	problem, ours := p.c.problem(a)
	executed := p.state == "done"
	switch {
	case !ours:
		return end(a, &UnguardedError{Code: a.Code, Method: method, Sent: true, Known: p.guarded, Done: executed})
	case executed && a.Code == http.StatusServiceUnavailable && problem.Name() == "authorization-unavailable":
		return verdict{next: p.fetch, why: "the application could not say whether the outcome may be shown", after: a.retryAfter()}
	case a.Code == http.StatusServiceUnavailable && problem.Name() == "ledger-unavailable" && problem.Retry == "same":
		return verdict{next: p.post, why: unrecorded, after: a.retryAfter()}
	default:
		return end(a, &ProblemError{Problem: problem, Answer: a, Open: p.open, Done: executed})
	}
}

// fetch gets the outcome of what was done before.
func (p *posting) fetch(ctx context.Context) verdict {
	a, err := p.c.do(ctx, request{method: http.MethodGet, url: p.uri, accept: p.c.accept()})
	if err != nil {
		return p.broken(err, p.fetch)
	}
	if _, ours := p.c.problem(a); a.State.Name == "" && !ours && away(a.Code) { // a look can be repeated, whoever answers
		return verdict{next: p.fetch, why: fmt.Sprintf("there is no server behind this address right now (%d)", a.Code), after: a.retryAfter()}
	}
	if a.State.Name == "" {
		return p.unguarded(a, http.MethodGet)
	}
	if a.State.Name == "done" {
		return p.definite(a)
	}
	p.state = a.State.Name
	return verdict{next: p.post, why: "the outcome is not there", after: a.retryAfter()}
}

// probe asks whether poe is there at all, before the first repeat to a URI that somebody else minted: if it is an
// ordinary address with a parameter of that name, a second POST would be a second execution.
func (p *posting) probe(ctx context.Context) verdict {
	a, err := p.c.do(ctx, request{method: http.MethodHead, url: p.uri})
	if err != nil {
		return p.broken(err, p.probe)
	}
	if a.State.Name == "" && a.Code >= http.StatusBadRequest { // it may be a refusal of poe's, which HEAD leaves out
		if a, err = p.c.do(ctx, request{method: http.MethodGet, url: p.uri, accept: p.c.accept()}); err != nil {
			return p.broken(err, p.probe)
		}
	}
	if a.State.Name == "" && away(a.Code) { // a look can be repeated, whoever answers
		return verdict{next: p.probe, why: fmt.Sprintf("there is no server behind this address right now (%d)", a.Code), after: a.retryAfter()}
	}
	if a.State.Name == "" && a.Code >= http.StatusBadRequest {
		return p.unguarded(a, http.MethodGet)
	}
	if a.State.Name == "" {
		return end(a, &UnguardedError{Code: a.Code, Method: http.MethodHead, Sent: p.sent})
	}
	p.guarded = true
	return verdict{next: p.post}
}

// broken decides after an exchange without an answer.
func (p *posting) broken(err error, next step) verdict {
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	lasting := errors.As(err, &certificate) || errors.As(err, &name) && name.IsNotFound && !p.sent
	switch {
	case lasting && !p.sent && p.c.hasToken(p.uri):
		return end(Answer{}, fmt.Errorf("%w: %w", ErrNothingSent, err))
	case lasting, errors.Is(err, ErrTooLarge):
		return end(Answer{}, err)
	default:
		return verdict{err: err, next: next, why: why(err)}
	}
}

// why says for a person why there was no answer.
func why(err error) string {
	var name *net.DNSError
	connected := !isDial(err)
	switch {
	case errors.As(err, &name):
		return fmt.Sprintf("the server's name cannot be looked up (%s)", name.Err)
	case errors.Is(err, errSlow) && connected:
		return "there was no answer in time"
	case errors.Is(err, errSlow):
		return "there was no connection in time"
	case (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && connected: // the caller's time is over
		return "there was no answer yet"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "there was no connection yet"
	case connected:
		return fmt.Sprintf("the connection was lost (%s)", innermost(err))
	default:
		return fmt.Sprintf("there is no connection (%s)", undialled(err))
	}
}

// undialled returns what a failure to connect says beside the address, which whoever asks knows. That of a proxy it keeps.
func undialled(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	return err.Error()
}

// innermost returns the first cause of an error.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// isDial tells whether there was not even a connection.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
