package replay_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// nowhere is a client that costs nothing.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header       { return n.h }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

var small = []byte(`{"id":42,"state":"accepted","items":[{"sku":"A-1","count":2}]}`)

func BenchmarkRecordSmall(b *testing.B) {
	s := spoolOf(b, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		rec := replay.NewRecorder(replay.RecorderConfig{Spool: s})
		rec.Header()["Content-Type"] = []string{"application/json"}
		rec.WriteHeader(http.StatusCreated)
		if _, err := rec.Write(small); err != nil {
			b.Fatal(err)
		}
		a, err := rec.Finish()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Blob(); err != nil {
			b.Fatal(err)
		}
		rec.Release()
	}
}

func BenchmarkRepeatSmall(b *testing.B) {
	head := replay.EncodeHead(http.Header{"Content-Type": {"application/json"}, "Location": {"/orders/42"}, "Etag": {`"v1"`}}, nil)
	r := request(http.MethodGet)
	w := nowhere{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h, trailer, err := replay.DecodeHead(head)
		if err != nil {
			b.Fatal(err)
		}
		clear(w.h)
		if err := replay.Repeat(w, r, replay.Stored{Status: 200, Header: h, Trailer: trailer, Content: bytes.NewReader(small), Size: int64(len(small)), Target: "/orders"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrontGet(b *testing.B) {
	f := replay.NewFront[string](1 << 20)
	for i := range byte(100) {
		f.Add(new(done(i, 100)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if f.Get(store.ID{byte(i % 100)}) == nil {
			b.Fatal("not there")
		}
	}
}
