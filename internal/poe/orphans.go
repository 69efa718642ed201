package core

import (
	"maps"
	"slices"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// orphans are claims that may have been written although the ledger did not say so. Nothing was sent under them.
type orphans struct {
	mu    sync.Mutex
	terms map[store.ID][]store.Term // guarded by mu; any of them may be the one that was written
}

// maxOrphans bounds them; what does not fit is found by recovery, and becomes unknown.
const (
	maxOrphans     = 10_000
	maxOrphanTerms = 64 // of one id
)

func (o *orphans) add(id store.ID, terms ...store.Term) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.terms == nil {
		o.terms = make(map[store.ID][]store.Term)
	}
	known := o.terms[id]
	if len(known) == 0 && len(o.terms) >= maxOrphans || len(known)+len(terms) > maxOrphanTerms {
		return
	}
	o.terms[id] = append(slices.Clip(known), terms...)
}

func (o *orphans) all() map[store.ID][]store.Term {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.terms)
}

// remove forgets what was looked at; what was added since then stays.
func (o *orphans) remove(id store.ID, terms []store.Term) {
	o.mu.Lock()
	defer o.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(o.terms[id]), func(t store.Term) bool { return slices.Contains(terms, t) })
	if len(left) == 0 {
		delete(o.terms, id)
		return
	}
	o.terms[id] = left
}
