package serve

import (
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// checkRecovery wants a policy with what belongs to it, and nothing that belongs to another one: a setting that does nothing would be taken for
// one that does.
func checkRecovery(r *Route, d *decoder, path string) {
	oneOf(d, path+"recovery", r.Recovery, "hold", "repeat", "probe", "compensate")
	if r.RecoverFor < time.Millisecond {
		d.wrong(path+"recover_for", "must be a millisecond at least")
	}
	checkTemplate(r, d, path, template{"probe", r.Probe, true})
	checkTemplate(r, d, path, template{"compensate", r.Compensate, false})
	if r.ProbeFences && r.Recovery != "probe" {
		d.wrong(path+"probe_fences", "is here without recovery: probe")
	}
	if r.Compensated != "" {
		oneOf(d, path+"compensated", r.Compensated, "refused", "unused")
		if r.Recovery != "compensate" {
			d.wrong(path+"compensated", "is here without recovery: compensate")
		}
	}
}

// A template is the path of a policy of the same name.
type template struct {
	policy string
	text   string
	named  bool // it must say which action it is about
}

func checkTemplate(r *Route, d *decoder, path string, t template) {
	at := path + t.policy
	switch {
	case t.text == "" && r.Recovery == t.policy:
		d.wrong(path+"recovery", "%s needs a path of the application (write %s: /orders/%s/{id})", t.policy, t.policy, t.policy)
	case t.text == "":
	case r.Recovery != t.policy:
		d.wrong(at, "is here without recovery: %s", t.policy)
	default:
		if err := core.CheckTemplate(t.text, t.named); err != nil {
			d.wrong(at, "%s", err)
		}
	}
}
