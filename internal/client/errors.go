package client

import (
	"context"
	"errors"
	"fmt"
)

// UnguardedError says that something answered which poe does not stand in front of. Unless poe was there before (Known), nothing was repeated.
type UnguardedError struct {
	Code   int    // of the answer
	Method string // of the request that got the answer
	Sent   bool   // a POST was made before, or is what got it
	Known  bool   // poe answered for the POE URI before
	Done   bool   // and said that it was executed
}

// Error says what was met.
func (e *UnguardedError) Error() string {
	if e.Done {
		return fmt.Sprintf("it was executed, but its outcome is not shown: the answer to the %s is %d, without POE-State", e.Method, e.Code)
	}
	if e.Known {
		return fmt.Sprintf("poe does not answer there any more: the answer to the %s is %d, without POE-State", e.Method, e.Code)
	}
	if !e.Sent || away(e.Code) { // what an earlier POST met is not known here, nor what is behind a proxy that says so
		return fmt.Sprintf("poe does not answer there: the answer to the %s is %d, without POE-State", e.Method, e.Code)
	}
	return fmt.Sprintf("this is not guarded by poe: the answer to the %s is %d, without POE-State", e.Method, e.Code)
}

// Hint says what to make of it where only a look was met: whoever looks has mostly sent something before. Otherwise that depends on the POE URI,
// which only the caller may name.
func (e *UnguardedError) Hint() string {
	if e.Sent {
		return ""
	}
	return "that says nothing of what was POSTed, which may have been executed; is poe in front of the application, --prefix and --param the same as there, and may you see the outcome?"
}

// UnsettledError says that the time was over before the answer was definite.
type UnsettledError struct {
	Sent  bool   // false: no POST was made at all
	State string // what is known of it since the last POST: unused, running, unknown, done; "": nothing
	Why   string // what was in the way last, "there is no connection (connect: connection refused)"; "": nothing beside what is known
	Last  error  // what went wrong last; nil where an answer came
	Cause error  // why it ended: context.DeadlineExceeded, context.Canceled
}

// Error says what is known, and what was in the way.
func (e *UnsettledError) Error() string {
	if e.Why != "" {
		return e.known() + "; " + e.Why
	}
	return e.known()
}

func (e *UnsettledError) known() string {
	end := "the time is over"
	if errors.Is(e.Cause, context.Canceled) {
		end = "interrupted"
	}
	switch {
	case !e.Sent:
		return end + ": nothing was sent so far"
	case e.State == "unused":
		return end + ": it was not executed so far"
	case e.State == "running", e.State == "sent", e.State == "accepted":
		return end + ": it is still being executed"
	case e.State == "unknown":
		return end + ": it was sent, and nobody knows whether it was executed"
	case e.State == "done":
		return end + ": it was executed, but the outcome could not be fetched"
	default:
		return end + ": it was sent, and nobody here knows whether it was executed"
	}
}

// Unwrap returns why it ended and what went wrong last.
func (e *UnsettledError) Unwrap() []error { return []error{e.Cause, e.Last} }

// ErrNothingSent says that a POE URI was not used: no connection could be made to send it.
var ErrNothingSent = errors.New("nothing was sent")

// ErrOtherRequest says that the POE URI was used before, with another body.
var ErrOtherRequest = errors.New("the POE URI was used before, with another body: what was sent now was not executed, and will not be with it")

// ProblemError says that poe refused, in its own words.
type ProblemError struct {
	Problem
	Answer Answer
	Open   bool // an earlier try may have been executed, and the answer does not say what became of it
	Done   bool // poe said before that it was executed
}

// Error gives status, name and the problem's own text.
func (e *ProblemError) Error() string {
	text := fmt.Sprintf("%d %s: %s", e.Answer.Code, e.Name(), e.Title)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	switch {
	case e.Done:
		text += "; it was executed, and only its outcome is not shown"
	case e.Open:
		text += "; an earlier try may have been executed all the same"
	}
	return text
}

// Hint says whether a repeat is safe.
func (e *ProblemError) Hint() string {
	switch e.Retry {
	case "same":
		return "repeating the same request is safe"
	case "new":
		return "mint a new POE URI for a new try"
	default:
		return ""
	}
}

// NoMintError says that minting got an answer which brings no POE URI.
type NoMintError struct{ Code int }

// Error says what was met.
func (e *NoMintError) Error() string {
	return fmt.Sprintf("no POE URI can be had there: the answer is %d and no list of URIs", e.Code)
}

// Hint says what to look at.
func (e *NoMintError) Hint() string {
	return "is poe in front of the application, and --prefix the same as there?"
}
