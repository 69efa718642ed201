package core_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
)

// A rotten store gives back another byte than it was given, in contents that lie beside the ledger.
type rotten struct{ store.Store }

func (s rotten) Open(ctx context.Context, id store.ID, part store.Part) (io.ReadSeekCloser, error) {
	f, err := s.Store.Open(ctx, id, part)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	b[len(b)/2] ^= 1
	return rottenFile{strings.NewReader(string(b))}, f.Close()
}

type rottenFile struct{ *strings.Reader }

func (rottenFile) Close() error { return nil }

// An answer that the disk has changed is not repeated. Whoever has its address can ask for it as often as they like, and the log says so once a minute.
func TestDamagedAnswer(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(c *core.Config) { c.Store, c.Log = rotten{c.Store}, zerolog.New(zerolog.SyncWriter(&log)) })
	b.app = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 100_000)) }
	i := b.issue("/orders")
	if res := b.do("POST", i.URI, "apples"); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	res := b.do("GET", i.URI, "")
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusGone || !strings.Contains(string(body), "outcome-purged") {
		t.Errorf("%s, %.200q, %v", res.Status, body, err)
	}
	for range 10 {
		b.do("GET", i.URI, "")
	}
	if said := strings.Count(log.String(), "cannot be repeated"); said != 1 {
		t.Errorf("the log says it %d times", said)
	}
}

// A failing store cannot read what lies beside the ledger, behind its first kilobyte.
type failing struct {
	store.Store
	works bool
}

func (s *failing) Open(ctx context.Context, id store.ID, part store.Part) (io.ReadSeekCloser, error) {
	f, err := s.Store.Open(ctx, id, part)
	if err != nil || s.works {
		return f, err
	}
	return failingFile{f}, nil
}

type failingFile struct{ io.ReadSeekCloser }

func (f failingFile) Read(p []byte) (int, error) {
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at > 0 {
		return 0, syscall.EIO
	}
	return f.ReadSeekCloser.Read(p[:min(len(p), 1024)])
}

// That an answer cannot be read now does not mean that it was not kept.
func TestUnreadableAnswer(t *testing.T) {
	st := &failing{}
	b := newBench(t, func(c *core.Config) { st.Store, c.Store = c.Store, st })
	b.app = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 100_000)) }
	i := b.issue("/orders")
	if res := b.do("POST", i.URI, "apples"); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	wantProblem(t, b.do("GET", i.URI, ""), http.StatusServiceUnavailable, "ledger-unavailable")
	b.do("POST", "/orders", "apples", "Idempotency-Key: k")
	now := b.do("POST", "/orders", "apples", "Idempotency-Key: k")
	wantProblem(t, now, http.StatusServiceUnavailable, "ledger-unavailable")
	if now.Header.Get("Idempotent-Replayed") != "" { // or it would be taken for the stored answer
		t.Errorf("%v", now.Header)
	}
	st.works = true
	if res := b.do("GET", i.URI, ""); res.StatusCode != 200 || len(text(t, res)) != 100_000 {
		t.Errorf("once it can be read: %s", res.Status)
	}
}
