package core_test

import "testing"

// What a first request under a long key leaves in the ledger is small: the record without bodies, and the name that leads to it.
func TestKeyedRecordIsSmall(t *testing.T) {
	b := newBench(t, nil)
	b.app = answering(201)
	id, _ := readState(t, b.do("POST", "/orders", "", uuidKey, alice).Header)
	r := b.lookup(id)
	const key, name = 1 + 4 + 16, 1 + 32 + 16
	if n := key + len(r.Append(nil)) + name*len(r.Names); n > 320 {
		t.Errorf("%d bytes", n)
	}
}
