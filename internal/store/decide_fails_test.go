package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/store"
)

var errBroken = errors.New("the disk is broken")

// A faultyView cannot answer one of the questions that it is asked.
type faultyView struct {
	records map[store.ID]store.Record
	names   map[store.Name]store.ID
	asked   int
	fault   int // the number of the question, from one; 0: none
}

func (v *faultyView) fails() bool {
	v.asked++
	return v.asked == v.fault
}

func (v *faultyView) Record(id store.ID) (*store.Record, error) {
	if v.fails() {
		return nil, errBroken
	}
	if r, ok := v.records[id]; ok {
		return &r, nil
	}
	return nil, store.ErrNotFound
}

func (v *faultyView) Holder(n store.Name) (store.ID, error) {
	if v.fails() {
		return store.ID{}, errBroken
	}
	if id, ok := v.names[n]; ok {
		return id, nil
	}
	return store.ID{}, store.ErrNotFound
}

func (*faultyView) Forgotten(string, string) time.Time { return time.Time{} }

// A question that the ledger could not answer is no answer: the decision fails with it, whichever it was, and writes nothing.
func TestDecisionOfALedgerThatFails(t *testing.T) {
	now := time.Date(2031, 3, 14, 12, 0, 0, 0, time.UTC)
	id := func(b byte) store.ID {
		i, _ := store.NewID(now, 31, readerOf(b))
		return i
	}
	unused, running, other, gone, child := id(1), id(2), id(3), id(4), id(5)
	free, forgotten, given, own, leaves, stays := store.Name{1}, store.Name{2}, store.Name{3}, store.Name{4}, store.Name{5}, store.Name{6}
	v := &faultyView{
		records: map[store.ID]store.Record{
			unused:  {ID: unused, State: store.Unused, Term: store.Term{1}, Names: []store.Name{own}},
			running: {ID: running, State: store.Running, Term: store.Term{2}, Names: []store.Name{leaves, stays}, Due: now},
			other:   {ID: other, State: store.Done, Term: store.Term{3}}, // it has given a name back
		},
		names: map[store.Name]store.ID{forgotten: gone, given: other, own: unused, leaves: running, stays: running},
	}
	claim := func(c *store.Change) (*store.Record, error) {
		r := store.Record{
			ID: unused, State: store.Running, Term: store.Term{9}, Names: []store.Name{free, forgotten, given},
			Claimed: now.Add(time.Microsecond), Expires: now.Add(time.Hour), Due: now.Add(time.Minute), Began: store.Term{8}, Doubt: store.Doubt{Attempt: 8},
		}
		return store.DecideClaim(v, &r, now, c)
	}
	end := func(c *store.Change) (*store.Record, error) {
		return store.DecideAdvance(v, &store.Advance{
			Was:    store.Term{2},
			Record: &store.Record{ID: running, State: store.Done, Term: store.Term{9}, Finished: now.Add(time.Microsecond), Names: []store.Name{leaves, stays}},
			Also: store.Also{Free: []store.Name{leaves}, Spawn: []store.Record{
				{ID: child, Parent: running, State: store.Queued, Term: store.Term{10}, Names: []store.Name{forgotten, given}, Due: now},
			}},
		}, now, c)
	}
	for name, tt := range map[string]struct {
		decide func(c *store.Change) (*store.Record, error)
		got    store.Record
		want   store.Change // but what it puts
		puts   int
	}{
		"claim": {
			claim,
			store.Record{
				ID: unused, State: store.Running, Term: store.Term{9}, Names: []store.Name{free, forgotten, given, own},
				Claimed: now, Expires: now.Add(time.Hour), Due: now.Add(time.Minute),
			},
			store.Change{Bind: []store.Binding{{Name: free, ID: unused}, {Name: forgotten, ID: unused}, {Name: given, ID: unused}}}, 1,
		},
		"advance": {
			end,
			store.Record{ID: running, State: store.Done, Term: store.Term{9}, Finished: now, Names: []store.Name{stays}},
			store.Change{Free: []store.Name{leaves}, Bind: []store.Binding{{Name: forgotten, ID: child}, {Name: given, ID: child}}}, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := store.Change{Free: []store.Name{own}, Bind: []store.Binding{{Name: own}}, Put: []store.Put{{}}} // of another decision
			v.asked, v.fault = 0, 0
			got, err := tt.decide(&c)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.got, *got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if puts := len(c.Put); puts != tt.puts || c.Put[0].Record != got {
				t.Errorf("it puts %d records", puts)
			}
			if d := cmp.Diff(tt.want, store.Change{Free: append([]store.Name(nil), c.Free...), Bind: c.Bind}); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			for fault := range v.asked {
				v.asked, v.fault = 0, fault+1
				if got, err := tt.decide(&c); !errors.Is(err, errBroken) || got != nil {
					t.Errorf("without an answer to question %d: %v, %v", fault+1, got, err)
				}
				if len(c.Free)+len(c.Bind)+len(c.Put) > 0 {
					t.Errorf("without an answer to question %d it writes %+v", fault+1, c)
				}
			}
		})
	}
}
