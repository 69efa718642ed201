package storetest

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/store"
)

// invalidClaims are ways to spoil a good claim.
func invalidClaims() map[string]func(*store.Record) {
	long := strings.Repeat("x", store.MaxWord+1)
	m := map[string]func(*store.Record){
		"no id":                     func(r *store.Record) { r.ID = store.ID{} },
		"no term":                   func(r *store.Record) { r.Term = store.Term{} },
		"no such state":             func(r *store.Record) { r.State = store.Burned + 1 },
		"no such way":               func(r *store.Record) { r.Way = store.Accepted + 1 },
		"its own undoing":           func(r *store.Record) { r.Undo = r.ID },
		"no such kind":              func(r *store.Record) { r.Kind = store.Compensation + 1 },
		"open and nobody due":       func(r *store.Record) { r.Due = time.Time{} },
		"long door":                 func(r *store.Record) { r.Door = long },
		"long route":                func(r *store.Record) { r.Route = long },
		"long method":               func(r *store.Record) { r.Method = long },
		"long target":               func(r *store.Record) { r.Target = strings.Repeat("x", store.MaxTarget+1) },
		"status of four digits":     func(r *store.Record) { r.Status = 1000 },
		"status below zero":         func(r *store.Record) { r.Status = -1 },
		"time before the epoch":     func(r *store.Record) { r.Claimed = time.Unix(-1, 0) },
		"time after the last":       func(r *store.Record) { r.Expires = store.Person.Add(time.Second) },
		"name twice":                func(r *store.Record) { n := name(); r.Names = []store.Name{n, n} },
		"empty name":                func(r *store.Record) { r.Names = make([]store.Name, 1) },
		"too many names":            func(r *store.Record) { r.Names = names(store.MaxNames + 1) },
		"names, and no room":        func(r *store.Record) { r.Names = names(store.MaxClaims + 1) },
		"long history":              func(r *store.Record) { r.History = make([]store.Event, store.MaxHistory+1) },
		"event by a long name":      func(r *store.Record) { r.History = []store.Event{{Who: long}} },
		"event for a long reason":   func(r *store.Record) { r.History = []store.Event{{Why: strings.Repeat("x", store.MaxLine+1)}} },
		"event from nowhere known":  func(r *store.Record) { r.History = []store.Event{{From: store.Burned + 1}} },
		"event to nowhere known":    func(r *store.Record) { r.History = []store.Event{{}, {To: store.Burned + 1}} },
		"event of no such status":   func(r *store.Record) { r.History = []store.Event{{Status: 1000}} },
		"event, status below zero":  func(r *store.Record) { r.History = []store.Event{{Status: -1}} },
		"event before the epoch":    func(r *store.Record) { r.History = []store.Event{{At: time.Unix(-1, 0)}} },
		"content over the limit":    func(r *store.Record) { r.Request = inline(strings.Repeat("x", store.InlineLimit+1)) },
		"content of another size":   func(r *store.Record) { r.Request = inline("x"); r.Request.Size++ },
		"content, but beside":       func(r *store.Record) { r.Request = inline("x"); r.Request.Where = store.Beside },
		"content, but purged":       func(r *store.Record) { r.Response = inline("x"); r.Response.Where = store.Purged },
		"beside without a term":     func(r *store.Record) { r.Request = store.Blob{Where: store.Beside, Size: 1} },
		"no such place for content": func(r *store.Record) { r.Response.Where = store.Streamed + 1 },
		"no such part":              func(r *store.Record) { r.Response.Part.N = 2 },
		"size beyond all":           func(r *store.Record) { r.Response.Size = store.MaxSize + 1 },
		"size below zero":           func(r *store.Record) { r.Response.Size = -1 },
		"head over the limit":       func(r *store.Record) { r.Response.Head = make([]byte, store.MaxHead+1) },
	}
	for _, s := range []store.State{store.Absent, store.Unused, store.Sent, store.Done, store.Unknown} {
		m["claimed as "+s.String()] = func(r *store.Record) { r.State = s }
	}
	return m
}

func claimInvalid(t *testing.T, k *kit, spoil func(*store.Record)) {
	r := k.claim(store.Running)
	spoil(&r)
	_, err := k.Claim(t.Context(), r)
	refused(t, err, store.ErrInvalid)
	if ids, err := k.List(t.Context(), store.ID{}, 10); err != nil || len(ids) > 0 {
		t.Errorf("the ledger has %v, %v", ids, err)
	}
}

// deep is r with slices of its own.
func deep(r store.Record) store.Record {
	r.Names, r.History = slices.Clone(r.Names), slices.Clone(r.History)
	for _, b := range []*store.Blob{&r.Request, &r.Response} {
		b.Head, b.Content = bytes.Clone(b.Head), bytes.Clone(b.Content)
	}
	return r
}

// spoilSlices overwrites every array that r refers to.
func spoilSlices(r *store.Record) {
	for i := range r.Names {
		r.Names[i] = store.Name{}
	}
	for i := range r.History {
		r.History[i] = store.Event{Who: "nobody"}
	}
	for _, b := range [][]byte{r.Request.Head, r.Request.Content, r.Response.Head, r.Response.Content} {
		clear(b)
	}
}
