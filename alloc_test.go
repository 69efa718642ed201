//go:build !race

package poe_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/postonce/poe"
	"github.com/postonce/poe/internal/alloctest"
)

// What a request through the gate allocates beside what net/http and the handler do.
func TestAllocations(t *testing.T) {
	gate, err := poe.Open(t.Context(), poe.Config{Store: "pebble:" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gate.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	body := strings.NewReader("")
	w := &sink{header: http.Header{}}
	h := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Location"] = location
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(created)
	}))
	key := ""
	do := func(h http.Handler, method, target string, want int) {
		body.Reset(orderBody)
		r, err := http.NewRequestWithContext(t.Context(), method, target, body)
		if err != nil {
			t.Fatal(err)
		}
		r.RequestURI = target
		if key != "" {
			r.Header["Idempotency-Key"] = []string{key}
		}
		clear(w.header)
		w.status = 0
		h.ServeHTTP(w, r)
		if w.status != want {
			t.Fatalf("%s %s: %d, want %d", method, target, w.status, want)
		}
	}
	mint := func() string {
		m, err := gate.Mint(t.Context(), http.MethodPost, "/orders")
		if err != nil {
			t.Fatal(err)
		}
		return m.URI
	}
	const n = 2000
	var fresh []string
	for range n + n/alloctest.Rounds {
		fresh = append(fresh, mint())
	}
	used, keys := mint(), 0
	do(h, http.MethodPost, used, http.StatusCreated)
	for name, tt := range map[string]struct {
		limit alloctest.Limit
		do    func()
	}{
		"harness": {alloctest.Limit{Allocs: 6, Bytes: 700}, func() {
			do(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }), http.MethodPost, used, http.StatusCreated)
		}},
		"first POST": {alloctest.Limit{Allocs: 45, Bytes: 5200}, func() { do(h, http.MethodPost, fresh[0], http.StatusCreated); fresh = fresh[1:] }},
		"keyed POST": {alloctest.Limit{Allocs: 69, Bytes: 6600}, func() {
			keys++
			key = strconv.Itoa(keys) + "-0123456789abcdef"
			do(h, http.MethodPost, "/orders", http.StatusCreated)
			key = ""
		}},
		"405":               {alloctest.Limit{Allocs: 10, Bytes: 900}, func() { do(h, http.MethodPost, used, http.StatusMethodNotAllowed) }},
		"outcome":           {alloctest.Limit{Allocs: 8, Bytes: 800}, func() { do(h, http.MethodGet, used, http.StatusOK) }},
		"minting over HTTP": {alloctest.Limit{Allocs: 50, Bytes: 6600}, func() { do(gate, http.MethodGet, "/poe/new?for=/orders", http.StatusOK) }},
		"minting":           {alloctest.Limit{Allocs: 15, Bytes: 2300}, func() { mint() }},
	} {
		t.Run(name, func(t *testing.T) { alloctest.Check(t, n, tt.limit, tt.do) })
	}
}

var (
	location = []string{"/orders/1"}
	created  = []byte(`{"id":1}`)
)

// A sink is a ResponseWriter that costs nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header    { return s.header }
func (s *sink) WriteHeader(status int) { s.status = status }
func (s *sink) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return len(p), nil
}

var _ io.Writer = (*sink)(nil)
