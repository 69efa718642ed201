package store_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/store"
)

var (
	times = rapid.OneOf(rapid.Just(time.Time{}), rapid.Just(store.Person),
		rapid.Map(rapid.Int64Range(1, store.Person.UnixMilli()), func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }))
	states = rapid.Map(rapid.IntRange(int(store.Unused), int(store.Burned)), func(i int) store.State { return store.State(i) })
	hashes = rapid.OneOf(rapid.Just([32]byte{}), rapid.Custom(func(t *rapid.T) [32]byte {
		return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
	}))
	terms = rapid.Custom(func(t *rapid.T) store.Term {
		return store.Term(rapid.SliceOfN(rapid.ByteMin(1), 8, 8).Draw(t, "term"))
	})
	ids = rapid.Custom(func(t *rapid.T) store.ID {
		return store.ID(rapid.SliceOfN(rapid.ByteMin(1), 16, 16).Draw(t, "id"))
	})
	blobs = rapid.Custom(func(t *rapid.T) store.Blob {
		b := store.Blob{
			Head: some(t, "head"), Where: store.Where(rapid.IntRange(0, int(store.Streamed)).Draw(t, "where")),
			Size: rapid.Int64Range(0, 1<<62-1).Draw(t, "size"), Digest: hashes.Draw(t, "digest"),
		}
		switch b.Where {
		case store.Inline:
			b.Content = some(t, "content")
			b.Size = int64(len(b.Content))
		case store.Beside:
			b.Part = store.Part{Term: terms.Draw(t, "part"), N: uint8(rapid.IntRange(0, 1).Draw(t, "n"))}
		case store.Nowhere, store.Purged, store.Streamed:
		}
		return b
	})
	events = rapid.Custom(func(t *rapid.T) store.Event {
		return store.Event{
			At: times.Draw(t, "at"), From: states.Draw(t, "from"), To: states.Draw(t, "to"), Who: rapid.String().Draw(t, "who"),
			Why: rapid.String().Draw(t, "why"), Status: rapid.IntRange(0, 999).Draw(t, "status"),
		}
	})
	records = rapid.Custom(func(t *rapid.T) store.Record {
		r := store.Record{
			ID: ids.Draw(t, "id"), Kind: store.Kind(rapid.IntRange(0, int(store.Compensation)).Draw(t, "kind")),
			State: states.Draw(t, "state"), Term: terms.Draw(t, "term"), Attempt: rapid.Uint16().Draw(t, "attempt"),
			Door: rapid.SampledFrom([]string{"", "poe", "key"}).Draw(t, "door"), Route: rapid.String().Draw(t, "route"),
			Method: rapid.SampledFrom([]string{"POST", "PUT", "QUERY"}).Draw(t, "method"), Target: rapid.String().Draw(t, "target"),
			Principal: hashes.Draw(t, "principal"), Digest: hashes.Draw(t, "digest"),
			Request: blobs.Draw(t, "request"), Response: blobs.Draw(t, "response"), Status: rapid.IntRange(0, 999).Draw(t, "status"),
			Claimed: times.Draw(t, "claimed"), Finished: times.Draw(t, "finished"), Expires: times.Draw(t, "expires"), Due: times.Draw(t, "due"),
		}
		if rapid.Bool().Draw(t, "a child") {
			r.Parent = ids.Draw(t, "parent")
		}
		if rapid.Bool().Draw(t, "recovered") {
			r.Way = store.Way(rapid.IntRange(0, int(store.Accepted)).Draw(t, "way"))
			r.Doubt.Attempt = rapid.Uint16().Draw(t, "doubted")
			copy(r.Doubt.Request[:], some(t, "asked"))
			copy(r.Doubt.Digest[:], some(t, "compared"))
			copy(r.Began[:], some(t, "began"))
			r.Resent, r.Undo = rapid.Uint16().Draw(t, "resent"), ids.Draw(t, "undo")
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "names") {
			r.Names = append(r.Names, store.Name{byte(i + 1)})
		}
		if n := rapid.IntRange(0, 4).Draw(t, "events"); n > 0 {
			r.History = rapid.SliceOfN(events, n, n).Draw(t, "history")
		}
		return r
	})
)

func some(t *rapid.T, what string) []byte {
	return append([]byte(nil), rapid.SliceOf(rapid.Byte()).Draw(t, what)...)
}

func TestCodecRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := records.Draw(t, "record")
		b := want.Append([]byte("before"))
		if !bytes.HasPrefix(b, []byte("before")) {
			t.Fatal("Append wrote over what was there")
		}
		got, err := store.Decode(want.ID, b[6:])
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		clear(b)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("the record shares memory with what it was read from:\n%s", d)
		}
	})
}

// typical is a settled record as the door of POE URIs leaves it.
func typical() store.Record {
	return store.Record{
		ID: store.ID{15: 1}, State: store.Done, Term: store.Term{1, 2, 3, 4, 5, 6, 7, 8}, Door: "poe", Route: "default", Method: "POST", Target: "/orders",
		Request: store.Blob{Size: 250, Digest: [32]byte(bytes.Repeat([]byte{1}, 32))}, Status: 201,
		Response: store.Blob{Where: store.Inline, Size: 250, Digest: [32]byte(bytes.Repeat([]byte{2}, 32))},
		Claimed:  noon, Finished: noon.Add(20 * time.Millisecond), Expires: noon.Add(time.Hour),
	}
}

func TestRecordSize(t *testing.T) {
	r := typical()
	if n := len(r.Append(nil)); n > 160 {
		t.Errorf("a typical record takes %d bytes, want at most 160", n)
	} else {
		t.Logf("%d bytes", n)
	}
}

func TestDecodeDamaged(t *testing.T) {
	r := typical()
	r.Names = []store.Name{{1}}
	r.Note(store.Event{Who: "engine"})
	good := r.Append(nil)
	number := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	text := func(n protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), v)
	}
	with := func(more ...[]byte) []byte { return append([]byte{store.Version}, bytes.Join(more, nil)...) }
	state, term := number(3, 3), text(7, "12345678")
	if _, err := store.Decode(r.ID, with(state, term)); err != nil {
		t.Fatalf("the least record: %v", err)
	}
	for name, b := range map[string][]byte{
		"nothing":               nil,
		"only a version":        {store.Version},
		"another version":       append([]byte{store.Version + 1}, good[1:]...),
		"cut short":             good[:len(good)-1],
		"longer":                append(bytes.Clone(good), 0),
		"no term":               with(state),
		"empty term":            with(state, text(7, "")),
		"zero term":             with(state, text(7, "\x00\x00\x00\x00\x00\x00\x00\x00")),
		"no state":              with(term),
		"state out of range":    with(number(3, 8), term),
		"kind out of range":     with(number(2, 3), state, term),
		"parent too short":      with(text(1, "short"), state, term),
		"attempts over 16 bit":  with(state, term, number(8, 1<<16)),
		"string for attempts":   with(state, term, text(8, "x")),
		"number for a string":   with(state, term, number(9, 1)),
		"number for a message":  with(state, term, number(14, 1)),
		"string for a number":   with(text(3, "x"), term),
		"out of order":          with(term, state),
		"twice":                 with(state, state, term),
		"unknown field":         with(state, term, number(24, 1)),
		"way out of range":      with(state, term, number(21, 3)),
		"resent over 16 bit":    with(state, term, number(22, 1<<16)),
		"undo too short":        with(state, term, text(23, "short")),
		"unknown wire type":     with(state, term, protowire.AppendFixed32(protowire.AppendTag(nil, 9, protowire.Fixed32Type), 1)),
		"group":                 with(state, term, protowire.AppendTag(nil, 9, protowire.StartGroupType)),
		"time after the last":   with(state, term, number(17, 1<<47)),
		"status of four digits": with(state, term, number(16, 1000)),
		"content nowhere known": with(state, term, text(14, string(number(3, 5)))),
		"part out of range":     with(state, term, text(14, string(number(5, 2)))),
		"too many events":       with(state, term, bytes.Repeat(text(20, ""), store.MaxHistory+1)),
		"event cut short":       with(state, term, text(20, "\x0a")),
		"length over the end":   with(state, term, []byte{9<<3 | 2, 0xff, 0xff, 0xff, 0x7f}),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := store.Decode(r.ID, b); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), r.ID.String()) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// What a ledger wants to know of a record that it is about to forget is what the record says, or damage.
func TestReadTrace(t *testing.T) {
	r := typical()
	whole := r.Append(nil)
	if got, err := store.ReadTrace(r.ID, whole); err != nil || got.State != r.State || string(got.Door) != r.Door || string(got.Route) != r.Route || !got.Claimed.Equal(r.Claimed) {
		t.Errorf("got %s of %s %s %s, %v", got.State, got.Door, got.Route, got.Claimed, err)
	}
	for n := range whole {
		got, err := store.ReadTrace(r.ID, whole[:n])
		if _, cut := store.Decode(r.ID, whole[:n]); cut == nil {
			continue
		}
		if err == nil && got.State != r.State || err != nil && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("of %d bytes: %s, %v", n, got.State, err)
		}
	}
	other := append([]byte{store.Version + 1}, whole[1:]...)
	if got, err := store.ReadTrace(r.ID, other); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("of another version: %s, %v", got.State, err)
	}
	for _, state := range []store.State{store.Absent, store.Burned + 1} {
		bad := typical()
		bad.State = state
		if got, err := store.ReadTrace(r.ID, bad.Append(nil)); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("of state %s: %s, %v", state, got.State, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for i := range 20 {
		r := records.Example(i)
		f.Add(r.Append(nil))
	}
	r := typical()
	f.Add(r.Append(nil))
	f.Add([]byte{})
	f.Add([]byte{store.Version})
	f.Fuzz(func(t *testing.T, b []byte) {
		id := store.ID{1}
		r, err := store.Decode(id, b)
		trace, traceErr := store.ReadTrace(id, b)
		kind, kindErr := store.ReadKind(id, b)
		for _, err := range []error{err, traceErr, kindErr} {
			if err != nil && !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("the error is of no known kind: %v", err)
			}
		}
		if err != nil {
			return
		}
		if traceErr != nil || trace.State != r.State || !r.State.Open() && (string(trace.Door) != r.Door || string(trace.Route) != r.Route || !trace.Claimed.Equal(r.Claimed)) {
			t.Errorf("the trace is %+v, %v, and the record %+v", trace, traceErr, r)
		}
		if kindErr != nil || kind != r.Kind {
			t.Errorf("the kind alone is %d, %v, and the record's %d", kind, kindErr, r.Kind)
		}
		again, err := store.Decode(id, r.Append(nil))
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		if d := cmp.Diff(r, again); d != "" {
			t.Errorf("what was read changes when it is written and read again:\n%s", d)
		}
	})
}
