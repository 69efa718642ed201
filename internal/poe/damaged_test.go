package core_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

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

// An answer that the disk has changed is not repeated.
func TestDamagedAnswer(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Store = rotten{c.Store} })
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
}
