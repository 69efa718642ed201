package core

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/bearer"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/tokens"
	"github.com/postonce/poe/internal/webhook"
)

// Config is what a Gate is made of. Store, Keys and Spool are required; a zero field has the default in its comment.
type Config struct {
	Store store.Store   // the ledger; the Gate does not close it
	Keys  *tokens.Ring  // signs and verifies POE URIs
	Spool *replay.Spool // what is on its way

	Routes    []Route // which requests are protected; none: every POST, as route "default"
	Prefix    string  // of our own resources; "/poe/"
	Param     string  // the query parameter that carries the token; "poe"
	PublicURL string  // scheme and host that problem types, and outcomes in callbacks, are made absolute with; "": relative

	TTL       time.Duration // how long a POE URI may wait for its POST; 1 h
	Retention time.Duration // how long after that everything about it is remembered; 720 h
	Timeout   time.Duration // of one execution; 30 s
	MaxWait   time.Duration // limit of Prefer: wait; 30 s
	Patience  time.Duration // with a client: for sending a body, and for taking the next piece of an answer; 2 min

	MaxBody     int64 // of a request, in bytes; above: 413; 10 MiB
	MaxResponse int64 // kept of an answer, in bytes; above: outcome-purged; 32 MiB
	MaxRunning  int   // executions at one time, beside those of Workers; above: 503 before the claim; 1024
	Workers     int   // that execute what was accepted to be done later; 16
	MaxWaiters  int   // requests that wait for an execution to end; above: answered at once; 1024
	Front       int64 // memory for finished records, in bytes; 32 MiB

	Callbacks  *webhook.Sender  // sends callbacks; nil: every one is refused
	Bearer     *bearer.Verifier // tells who a bearer token speaks for; nil: every token is somebody else
	Authorizer http.Handler     // the application, for Route.Authorize

	Clock   func() time.Time      // time.Now
	Random  io.Reader             // crypto/rand.Reader
	Log     zerolog.Logger        // zerolog.Nop()
	Metrics prometheus.Registerer // nil: not registered anywhere
}

// A Route says which requests are protected and how. A zero field has the default in its comment.
type Route struct {
	Name       string        // stable; its Match
	Match      string        // "METHOD[,METHOD] /path/{template}", as gorilla/mux reads paths; required
	Doors      []string      // how clients may come, of "poe", "key", "repeatability", "post-put", "if-match", "if-none-match", "async" and "callback"; nil: poe, key and async
	Require    bool          // a request that comes through none of the doors that name an action is refused
	KeyHeaders []string      // fields that carry a key; nil: Idempotency-Key
	Compare    []string      // what two requests under one name are the same by, e.g. "json:/amount"; nil: their whole bodies
	ClientID   string        // where a request carries an id of the client's choice, e.g. "json:/id" or "path:id"; "": nowhere
	Repeats    Repeats       // how a second request under a client id is answered; RepeatsAnswered
	Unique     []string      // what is together a business key that only one action has, e.g. "json:/email"; nil: nothing
	FreeOn     []string      // what gives it back: "DELETE" of the resource that was created; nil: only an operator
	TTL        time.Duration // Config.TTL
	Retention  time.Duration // Config.Retention
	Consume    Consume       // ConsumeSuccess
	Release    []int         // answers that mean "not done"; nil: 408, 425, 429
	Async      bool          // every request is accepted with 202, and executed later
	RetryFor   time.Duration // how long an accepted action is tried again while it is surely not done; 1 h
	Principal  string        // "authorization" (default), "none", "jwt:CLAIM", "header:NAME", "cookie:NAME"
	Authorize  string        // path that is asked, with GET, whether a client may have a stored answer; "": its principal is enough
	Origins    []string      // other origins whose pages may use the URIs, e.g. "https://shop.example.com"

	MarkSent    bool          // a durable mark before the first byte tells after a crash what was sent; it costs a third write
	Recovery    Recovery      // what becomes of an action whose end is unknown; RecoveryHold
	RecoverFor  time.Duration // how long that is tried, before a person must; 24 h
	Probe       string        // for RecoveryProbe: the path that is asked, e.g. "/orders/by-action/{id}"
	ProbeFences bool          // by a 404 to a probe the application promises to refuse from then on what was sent for the action before
	Compensate  string        // for RecoveryCompensate: the path that takes an action back
	Compensated Compensated   // what the action is then; CompensatedRefused
	// Recover finds out, in the place of a policy, how an action ended; nil: Recovery does. It is called by one process at a time, with a context
	// that ends after Config.Timeout, and again later if it returns an error or the zero Resolution.
	Recover func(ctx context.Context, a Unresolved) (Resolution, error)
}

// Consume says which final answers use an action up.
type Consume uint8

// The ways to consume.
const (
	ConsumeSuccess Consume = iota // 2xx, 3xx and failures (5xx), save what gateways say; other 4xx leave it unused
	ConsumeAny                    // every final answer that is not released, save 503 with Retry-After
)

// Repeats says how the second request under a client id is answered.
type Repeats uint8

// The ways to answer it.
const (
	RepeatsAnswered Repeats = iota // with the answer of the first
	RepeatsRefused                 // 409, with the link to it
)

// An Executor executes requests: the gateway's upstream, or a handler in this process.
type Executor interface {
	// Execute sends req once, writes the answer to rec as an http.Handler would, and returns how far it got.
	// It never repeats req after its first byte may have left. ctx carries the deadline of the execution and
	// no tie to the client. The error says why the proof is not Complete; a deadline that passed is
	// errors.Is(err, context.DeadlineExceeded) or os.ErrDeadlineExceeded, no free connection is replay.ErrBusy.
	Execute(ctx context.Context, req *replay.Request, rec *replay.Recorder) (replay.Proof, error)
}

var _ http.Handler = (*Gate)(nil)

// withDefaults fills the zero fields of c.
func (c Config) withDefaults() Config {
	setDefault(&c.Prefix, "/poe/")
	setDefault(&c.Param, "poe")
	setDefault(&c.TTL, time.Hour)
	setDefault(&c.Retention, 720*time.Hour)
	setDefault(&c.Timeout, 30*time.Second)
	c.Timeout = min(c.Timeout, math.MaxInt64-claimMargin) // who wants no limit says the largest that there is, and what is added to it would be in the past
	setDefault(&c.MaxWait, 30*time.Second)
	setDefault(&c.Patience, 2*time.Minute)
	setDefault(&c.MaxBody, 10<<20)
	setDefault(&c.MaxResponse, 32<<20)
	setDefault(&c.MaxRunning, 1024)
	setDefault(&c.MaxWaiters, 1024)
	setDefault(&c.Workers, 16)
	setDefault(&c.Front, 32<<20)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// shortest is the least time that somebody may be given. With less, as a number without its unit says, what is executed has no time at all: each action would be
// unknown.
const shortest = time.Millisecond

var paramName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,31}$`)

// Check reports what is wrong with cfg, as New does, but for what it needs that is open.
func Check(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	_, err := newRoutes(&cfg)
	return err
}

// opened reports what c lacks of what is open.
func (c *Config) opened() error {
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("no store given"))
	}
	if c.Keys == nil {
		errs = append(errs, errors.New("no key ring given"))
	}
	if c.Spool == nil {
		errs = append(errs, errors.New("no spool given"))
	}
	return errors.Join(errs...)
}

// validate reports everything else that is wrong with c after withDefaults.
func (c *Config) validate() error {
	var errs []error
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	say(!strings.HasPrefix(c.Prefix, "/") || !strings.HasSuffix(c.Prefix, "/") || len(c.Prefix) < 3 || !validTarget(c.Prefix),
		"prefix %q must begin and end with a slash and have something between", c.Prefix)
	say(strings.ContainsAny(c.Prefix, "?%()'") || cleanPath(c.Prefix) != c.Prefix, // html/template writes the last three otherwise, and pages would lead nowhere
		"prefix %q must be a path as routers see it, such as /poe/: without a query, percent-encoding, parentheses, apostrophes, dot segments and //", c.Prefix)
	say(!paramName.MatchString(c.Param), "parameter name %q must be a letter followed by letters, digits, dashes or underscores", c.Param)
	say(c.TTL < time.Second, "ttl %s is under a second", c.TTL)
	say(c.Retention < time.Second, "retention %s is under a second", c.Retention)
	say(c.Timeout < shortest, "timeout %s is under a millisecond", c.Timeout)
	say(c.MaxWait < shortest, "max wait %s is under a millisecond", c.MaxWait)
	say(c.Patience < shortest, "patience %s is under a millisecond", c.Patience)
	say(c.MaxBody < 0, "max body %d is negative", c.MaxBody)
	say(c.MaxResponse < 0, "max response %d is negative", c.MaxResponse)
	say(c.MaxRunning < 0, "max running %d is negative", c.MaxRunning)
	say(c.Workers < 0, "workers %d is negative", c.Workers)
	say(c.MaxWaiters < 0, "max waiters %d is negative", c.MaxWaiters)
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		say(err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "",
			"public URL %q must be a scheme and a host, without a path", c.PublicURL)
		say(err == nil && (u.User != nil || strings.Contains(c.PublicURL, "#")), "public URL has more than a scheme and a host") // such as a password, which clients would be told
	}
	return errors.Join(errs...)
}
