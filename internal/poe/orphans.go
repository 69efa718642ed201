package core

import (
	"maps"
	"sync"

	"github.com/postonce/poe/internal/store"
)

// orphans are claims that may have been written although the ledger did not say so. Nothing was sent under them.
type orphans struct {
	mu    sync.Mutex
	terms map[store.ID][]store.Term // guarded by mu; any of them may be the one that was written
}

// maxOrphans bounds them; what does not fit is found by recovery, and becomes unknown.
const maxOrphans = 10_000

func (o *orphans) add(id store.ID, terms ...store.Term) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.terms == nil {
		o.terms = make(map[store.ID][]store.Term)
	}
	if len(o.terms) < maxOrphans {
		o.terms[id] = terms
	}
}

func (o *orphans) all() map[store.ID][]store.Term {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.terms)
}

func (o *orphans) remove(id store.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.terms, id)
}
