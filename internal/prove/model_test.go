package prove_test

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// What clients do to one action, as far as the model knows. A POST that executes is two steps, between which others see that it runs.
type step uint8

const (
	claims   step = iota // a POST claims the action
	settles              // the same POST settles it
	releases             // the same POST was answered "not done" by the application
	maybe                // a POST whose client heard nothing may have claimed it
	ends                 // and may have settled it, in any way; or recovery did, for it
	sees                 // somebody is told where it stands
)

// An input is a step of the POST by, or what somebody saw.
type input struct {
	step step
	by   int
	seen string
}

// Where an action stands, and by which POST.
type standing struct {
	state string // unused, running, done, unknown
	by    int
}

// actionModel is the whole contract of one action: unused until somebody claims it; running until that one settles it; done for ever; unknown
// only where the client of the POST heard nothing.
var actionModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{standing{state: "unused"}} },
	Step: func(state, in, _ any) []any {
		s, i := state.(standing), in.(input)
		var next []any
		switch i.step {
		case claims, maybe:
			if s.state == "unused" {
				next = append(next, standing{"running", i.by})
			}
		case settles:
			if s == (standing{"running", i.by}) {
				next = append(next, standing{state: "done"})
			}
		case releases:
			if s == (standing{"running", i.by}) {
				next = append(next, standing{state: "unused"})
			}
		case ends:
			if s == (standing{"running", i.by}) {
				next = append(next, standing{state: "done"}, standing{state: "unknown"}, standing{state: "unused"})
			}
		case sees:
			if s.state == i.seen {
				next = append(next, s)
			}
		}
		if i.step == maybe || i.step == ends {
			next = append(next, s)
		}
		return next
	},
	DescribeOperation: func(in, _ any) string {
		i := in.(input)
		return [...]string{"claims", "settles", "releases", "may claim", "may settle", "sees " + i.seen}[i.step] + fmt.Sprintf(" (%d)", i.by)
	},
	DescribeState: func(state any) string { return fmt.Sprint(state) },
}
