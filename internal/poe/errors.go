package core

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknownTarget: no route protects the target.
	ErrUnknownTarget = errors.New("no route protects this target")
	// errDraining: the gate takes no new work.
	errDraining = errors.New("shutting down")
	// errBusy: as many executions run as are allowed.
	errBusy = errors.New("too many executions at once")
	// errStopped is the cause with which running executions are ended when the grace is over.
	errStopped = errors.New("the gate is stopping")
	// errNotOurs: the request carries a token that is not good for it. One error for every reason.
	errNotOurs = errors.New("not a POE URI of this ledger")
)

// A ParamError is a minting parameter that cannot be used.
type ParamError struct {
	Param  string // its name
	Reason string // for people; quotes what came from outside
}

// Error names the parameter and the reason.
func (e *ParamError) Error() string { return fmt.Sprintf("parameter %q: %s", e.Param, e.Reason) }

func badParam(name, format string, args ...any) error {
	return &ParamError{Param: name, Reason: fmt.Sprintf(format, args...)}
}
