package poe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

const orderBody = `{"item":"apple","quantity":3,"note":"a body of about a hundred bytes, as small orders have"}`

// benchGate opens a gate over a ledger on disk around a small handler.
func benchGate(b *testing.B) (*poe.Gate, http.Handler) {
	b.Helper()
	gate, err := poe.Open(b.Context(), poe.Config{Store: "pebble:" + b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := gate.Close(b.Context()); err != nil {
			b.Error(err)
		}
	})
	return gate, gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Location", "/orders/1")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	}))
}

func mintMany(b *testing.B, gate *poe.Gate, n int) []string {
	b.Helper()
	all := make([]string, n)
	for i := range all {
		m, err := gate.Mint(b.Context(), http.MethodPost, "/orders")
		if err != nil {
			b.Fatal(err)
		}
		all[i] = m.URI
	}
	return all
}

// hit sends one request and checks the status.
func hit(b *testing.B, h http.Handler, r *http.Request, want int) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != want {
		b.Errorf("answered %d, not %d: %s", w.Code, want, w.Body)
	}
}

func BenchmarkEmbeddedPOST(b *testing.B) {
	gate, h := benchGate(b)
	uris := make(chan string, b.N)
	for _, u := range mintMany(b, gate, b.N) {
		uris <- u
	}
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			hit(b, h, httptest.NewRequest(http.MethodPost, <-uris, strings.NewReader(orderBody)), http.StatusCreated)
		}
	})
}

// BenchmarkBarePOST is the harness itself with the handler alone.
func BenchmarkBarePOST(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			hit(b, h, httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(orderBody)), http.StatusCreated)
		}
	})
}

func BenchmarkConsumed(b *testing.B) {
	gate, h := benchGate(b)
	uri := mintMany(b, gate, 1)[0]
	hit(b, h, httptest.NewRequest(http.MethodPost, uri, strings.NewReader(orderBody)), http.StatusCreated)
	b.ReportAllocs()
	for b.Loop() {
		hit(b, h, httptest.NewRequest(http.MethodPost, uri, strings.NewReader(orderBody)), http.StatusMethodNotAllowed)
	}
}

func BenchmarkReplayFromFront(b *testing.B) {
	gate, h := benchGate(b)
	uri := mintMany(b, gate, 1)[0]
	hit(b, h, httptest.NewRequest(http.MethodPost, uri, strings.NewReader(orderBody)), http.StatusCreated)
	b.ReportAllocs()
	for b.Loop() {
		hit(b, h, httptest.NewRequest(http.MethodGet, uri, nil), http.StatusOK)
	}
}

func BenchmarkMint(b *testing.B) {
	gate, _ := benchGate(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := gate.Mint(b.Context(), http.MethodPost, "/orders"); err != nil {
			b.Fatal(err)
		}
	}
}
