package core

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Recovery says what becomes of an action whose end is unknown: it was found running by a process that did not start it, or its own end was
// no answer. See docs/recovery.md.
type Recovery uint8

// The policies.
const (
	RecoveryHold       Recovery = iota // it stays unknown until a person says what became of it
	RecoveryRepeat                     // the stored request is sent again under the same POE-Id and key, until the answer is definite
	RecoveryProbe                      // the application is asked, with GET
	RecoveryCompensate                 // one POST takes it back
	recoveryFunction                   // Route.Recover
)

var recoveryWords = [...]string{"hold", "repeat", "probe", "compensate", "function"}

// String returns the policy's word in configuration and metrics.
func (p Recovery) String() string {
	if int(p) < len(recoveryWords) {
		return recoveryWords[p]
	}
	return fmt.Sprintf("recovery(%d)", uint8(p))
}

// Compensated says what an action is once it was taken back.
type Compensated uint8

// What it is then.
const (
	CompensatedRefused Compensated = iota // done, with a 409 of ours as its outcome
	CompensatedUnused                     // unused: the next request is executed
)

// An Unresolved is an action whose end is unknown, as Route.Recover is given it.
type Unresolved struct {
	ID      string // what POE-Id said
	Method  string
	Target  string    // path and query, without our parameter
	Attempt int       // which one it was, from 1
	Claimed time.Time // when that attempt began
	Since   time.Time // when its end became unknown
}

// Resolved says how an action ended.
type Resolved uint8

// The ways in which it did.
const (
	StillUnknown Resolved = iota // it is asked again later
	WasDone                      // with the answer in the Resolution
	WasNotDone                   // and will not be: nothing that was sent for it can still take effect
)

// A Resolution is what Route.Recover has found out. The zero value says: nothing yet.
type Resolution struct {
	State  Resolved
	Status int         // where it was done: of the answer that is its outcome; 0: 200
	Header http.Header // the same; may be nil
	Body   []byte      // the same
}

// variable is what stands for the action's id in Route.Probe and Route.Compensate.
const variable = "{id}"

// parseRecovery checks the policy, and that what belongs to another one is not there.
func (c *route) parseRecovery() error {
	var errs []error
	say := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	setDefault(&c.RecoverFor, 24*time.Hour)
	say(c.RecoverFor < shortest, "recover for %s is under a millisecond", c.RecoverFor)
	say(c.Recovery >= recoveryFunction, "no such recovery: %d", c.Recovery)
	say(c.Recover != nil && c.Recovery != RecoveryHold, "a function recovers, and recovery says %s", c.Recovery)
	say((c.Probe != "") != (c.Recovery == RecoveryProbe), "probe %q with recovery %s: one needs the other", c.Probe, c.Recovery)
	say(c.ProbeFences && c.Recovery != RecoveryProbe, "probes fence, and recovery is %s", c.Recovery)
	say((c.Compensate != "") != (c.Recovery == RecoveryCompensate), "compensate %q with recovery %s: one needs the other", c.Compensate, c.Recovery)
	say(c.Compensated > CompensatedUnused, "no such state of what was compensated: %d", c.Compensated)
	say(c.Compensated != CompensatedRefused && c.Recovery != RecoveryCompensate, "compensated is set, and recovery is %s", c.Recovery)
	if c.Probe != "" {
		errs = append(errs, CheckTemplate(c.Probe, true))
	}
	if c.Compensate != "" {
		errs = append(errs, CheckTemplate(c.Compensate, false))
	}
	if c.Recover != nil {
		c.Recovery = recoveryFunction
	}
	return errors.Join(errs...)
}

// CheckTemplate tells what is wrong with a path in which {id} is the only variable, such as Route.Probe. Where it must be there and is not,
// every action would be asked about at one address, and be what is said there.
func CheckTemplate(text string, must bool) error {
	path := strings.ReplaceAll(text, variable, "0")
	switch {
	case strings.ContainsAny(path, "{}"):
		return fmt.Errorf("%q: only %s is a variable", text, variable)
	case !validTarget(path):
		return fmt.Errorf("%q is not a path with one slash before it (write /orders/by-action/{id})", text)
	case must && path == text:
		return fmt.Errorf("%q does not say which action: %s is missing", text, variable)
	}
	return nil
}
