package poe

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"

	core "github.com/postonce/poe/internal/poe"

	"github.com/postonce/poe/internal/webhook"
)

// A Route says which requests are protected, and how. A zero field has the default in its comment. The first route that matches has the
// request. What the fields mean for clients is in docs/doors.md and docs/recovery.md.
type Route struct {
	// Name is what records, metrics and keys say of the route. It must stay the same over restarts: a key belongs to its route. "": Match.
	Name string
	// Match is "METHOD[,METHOD] /path/{template}": one or more of POST, PUT, PATCH and DELETE, and a path, decoded, as gorilla/mux reads it
	// ({id} is one segment, {id:[0-9]+} what the expression says, {path:.*} all that follows), or * for all. Open refuses what can match nothing, and
	// a route whose requests an earlier one takes. Required.
	Match string
	// Doors says how clients may come, of "poe", "key", "repeatability", "post-put", "if-match", "if-none-match", "async" and "callback". Nil: "poe",
	// "key", and "async" where there is a Config.App. Empty: none, where ClientID, Unique or Async says what an action is; otherwise Open refuses it.
	Doors []string
	// Require refuses a request that comes through no door that names its action: 428, with POE-Links, or 400.
	Require bool
	// KeyHeaders lists the fields that may carry a key. Nil: Idempotency-Key.
	KeyHeaders []string
	// Compare lists what makes two requests under one name the same, as places in them: "json:/amount", "form:amount", "header:X-Amount". Nil:
	// their whole bodies.
	Compare []string
	// ClientID is where a request carries an id of its client's choice: "json:/id", "form:id", "header:X-Id" or "path:id". "": nowhere.
	ClientID string
	// Repeats says how the second request under a client id is answered. It goes with ClientID.
	Repeats Repeats
	// Unique lists the places of what together is a business key, such as "json:/email": only one action has it, whoever asks. Nil: there is none.
	Unique []string
	// FreeOn says what gives a business key back: "DELETE", of the resource that was created. Nil: only an operator does.
	FreeOn []string
	// TTL is how long a POE URI may wait for its POST. 0: Config.TTL.
	TTL time.Duration
	// Retention is how long after that everything about it is remembered. 0: Config.Retention.
	Retention time.Duration
	// Consume says which answers use an action up.
	Consume Consume
	// Release lists the statuses that mean "surely not done", after which the action is unused. Nil: 408, 425 and 429.
	Release []int
	// Async accepts every request with 202 and executes it later, whether its client asks for that or not. It needs Config.App, and 503 is the answer
	// until Resume is called.
	Async bool
	// RetryFor is how long an accepted action is tried again while it is surely not done. 0: one hour.
	RetryFor time.Duration
	// Principal says who is asking: "none", "authorization" (the user of Basic, the issuer and subject of a bearer token that Config.JWKS verifies,
	// otherwise the whole field), "jwt:CLAIM" of such a token, "header:NAME" or "cookie:NAME". "": "authorization". Another password, and a token that is not
	// valid now, are the same principal's, who is executed nothing twice, and are shown nothing.
	Principal string
	// Authorize is a path of Config.App that is asked, with GET and the client's credentials, at the host of the answer, whether it may have a stored one.
	// Answers from before it was set are not repeated. "": that the principal is the same is enough.
	Authorize string
	// Origins lists other origins whose pages may use the route, such as "https://shop.example.com". Nil: none (403 cross-origin).
	Origins []string

	// MarkSent makes a durable mark right before the handler begins, by which a restart tells what surely was not executed. It costs a third
	// synced write.
	MarkSent bool
	// Recovery says what becomes of an action whose end is unknown. All but RecoveryHold need Config.App.
	Recovery Recovery
	// RecoverFor is how long that is tried, before a person must decide (Gate.Decide). 0: 24 hours.
	RecoverFor time.Duration
	// Probe is the path that RecoveryProbe asks, such as "/orders/by-action/{id}".
	Probe string
	// ProbeFences is the application's promise that after a 404 to a probe it refuses what was sent for that action before.
	ProbeFences bool
	// Compensate is the path to which RecoveryCompensate POSTs, such as "/orders/by-action/{id}/cancel". Its handler must refuse what has no ActionID.
	Compensate string
	// Compensated says what an action is that was taken back.
	Compensated Compensated
	// Recover finds out how an action ended, in the place of a policy; nil: Recovery does. It is called by one process at a time, under a context that ends after
	// Config.Timeout, and again later, with growing pauses, if it returns an error or the zero Resolution, for as long as RecoverFor says.
	// It may be called before Open has returned: what it uses must be there by then, and is not the Gate.
	Recover func(ctx context.Context, a Unresolved) (Resolution, error)
}

// Consume says which complete answers of a handler use an action up. What Route.Release lists never does, nor does 503 with Retry-After: those say that nothing
// was done, and leave the action unused.
type Consume uint8

// The ways to consume.
const (
	// ConsumeSuccess: 2xx, 3xx and 5xx use it up, and 4xx leave it unused. 502, 503, 504, 511, 520 to 527 and 530 are a gateway's word about somebody else: after them it is unknown.
	ConsumeSuccess = Consume(core.ConsumeSuccess)
	// ConsumeAny: every other answer uses it up.
	ConsumeAny = Consume(core.ConsumeAny)
)

// Repeats says how the second request under a client id (Route.ClientID) is answered.
type Repeats uint8

// The ways to answer it.
const (
	RepeatsAnswered = Repeats(core.RepeatsAnswered) // with the answer of the first
	RepeatsRefused  = Repeats(core.RepeatsRefused)  // 409 duplicate, with the link to it
)

// Recovery says what becomes of an action whose end is unknown: its process died while it ran, or its handler panicked or ran out of time.
type Recovery uint8

// The policies.
const (
	RecoveryHold       = Recovery(core.RecoveryHold)       // it stays unknown until a person decides (Gate.Decide)
	RecoveryRepeat     = Recovery(core.RecoveryRepeat)     // the stored request is sent again, with the same POE-Id and key, until the answer is definite
	RecoveryProbe      = Recovery(core.RecoveryProbe)      // the application is asked, with GET, at Route.Probe
	RecoveryCompensate = Recovery(core.RecoveryCompensate) // one POST to Route.Compensate takes it back
)

// String returns the policy's word in metrics: "hold", "repeat", "probe" or "compensate".
func (r Recovery) String() string { return core.Recovery(r).String() }

// Compensated says what an action is that was taken back.
type Compensated uint8

// What it is then.
const (
	CompensatedRefused = Compensated(core.CompensatedRefused) // done, with a 409 rolled-back as its outcome
	CompensatedUnused  = Compensated(core.CompensatedUnused)  // unused: the next request is executed
)

// Unresolved is an action whose end is unknown, as Route.Recover is given it.
type Unresolved struct {
	ID      string // what ActionID and POE-Id said
	Method  string
	Target  string    // path and query, without the token
	Attempt int       // which one it was, from 1
	Claimed time.Time // when that attempt began
	Since   time.Time // when its end became unknown
}

// Resolved says how an action ended.
type Resolved uint8

// The ways in which it did.
const (
	StillUnknown = Resolved(core.StillUnknown) // nothing yet: it is asked again later
	WasDone      = Resolved(core.WasDone)      // with the answer in the Resolution, which becomes the outcome
	WasNotDone   = Resolved(core.WasNotDone)   // and will not be: nothing that was begun for it can still take effect. It is unused then, and may be executed; burned, if it had been accepted with 202 and Route.Recover says so
)

// Resolution is what Route.Recover has found out. The zero value says: nothing yet.
type Resolution struct {
	State  Resolved
	Status int         // where it was done: of the answer; 0: 200
	Header http.Header // the same; may be nil
	Body   []byte      // the same
}

// Callbacks says who may be told of outcomes, and how that is signed (Standard Webhooks). A zero field has the default in its comment.
type Callbacks struct {
	// Allow lists the hosts that may be called: "hooks.example.com", "*.example.com" for all names below, either with a port, such as
	// "hooks.example.com:8443"; without one the port is the scheme's. Nil: none.
	Allow []string
	// Secrets sign: each is "whsec_" and 24 to 64 random bytes in base64. At least one; all sign, so that one can be replaced.
	Secrets []string
	// DangerouslyInsecure allows http and addresses of the own network. It is for tests.
	DangerouslyInsecure bool
	// Timeout is for one delivery. 0: 20 s.
	Timeout time.Duration
	// Resolver looks up the hosts' names. Nil: the system's.
	Resolver *net.Resolver
}

// Minted is a POE URI.
type Minted struct {
	URI     string    `json:"uri"`     // path and query
	ID      string    `json:"id"`      // of its action
	Expires time.Time `json:"expires"` // unless it is used
}

// core is the route in the engine's words. It shares nothing with r, which its program may use again.
func (r *Route) core() core.Route {
	c := core.Route{
		Name: r.Name, Match: r.Match, Doors: slices.Clone(r.Doors), Require: r.Require, KeyHeaders: slices.Clone(r.KeyHeaders),
		Compare: slices.Clone(r.Compare), ClientID: r.ClientID, Repeats: core.Repeats(r.Repeats), Unique: slices.Clone(r.Unique), FreeOn: slices.Clone(r.FreeOn),
		TTL: r.TTL, Retention: r.Retention, Consume: core.Consume(r.Consume), Release: slices.Clone(r.Release),
		Async: r.Async, RetryFor: r.RetryFor, Principal: r.Principal, Authorize: r.Authorize, Origins: slices.Clone(r.Origins),
		MarkSent: r.MarkSent, Recovery: core.Recovery(r.Recovery), RecoverFor: r.RecoverFor, Probe: r.Probe, ProbeFences: r.ProbeFences,
		Compensate: r.Compensate, Compensated: core.Compensated(r.Compensated),
	}
	if find := r.Recover; find != nil {
		c.Recover = func(ctx context.Context, a core.Unresolved) (core.Resolution, error) {
			got, err := find(ctx, Unresolved(a))
			return core.Resolution{State: core.Resolved(got.State), Status: got.Status, Header: got.Header, Body: got.Body}, err
		}
	}
	return c
}

func (c *Callbacks) config(clock func() time.Time) webhook.Config {
	return webhook.Config{
		Allow: slices.Clone(c.Allow), Secrets: slices.Clone(c.Secrets), DangerouslyInsecure: c.DangerouslyInsecure, Timeout: c.Timeout, Resolver: c.Resolver, Clock: clock,
	}
}
