package poe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postonce/poe"
)

// A gate behind a Server executes once, whoever of the two answers, and its clients may speak HTTP/2.
func TestServer(t *testing.T) {
	var ran atomic.Int32
	gate := openGate(t, poe.Config{})
	mux := http.NewServeMux()
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ran.Add(1)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body)
	})))
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := poe.NewServer(&http.Server{Handler: mux, Protocols: protocols})
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	over2 := new(http.Protocols)
	over2.SetUnencryptedHTTP2(true)
	for name, tc := range map[string]struct {
		client *http.Client
		body   string
	}{
		"plain":     {&http.Client{Transport: &http.Transport{}}, `{"item":"tea"}`},
		"large":     {&http.Client{Transport: &http.Transport{}}, strings.Repeat("x", 50<<10)},
		"empty":     {&http.Client{Transport: &http.Transport{}}, ""},
		"by HTTP/2": {&http.Client{Transport: &http.Transport{Protocols: over2}}, `{"item":"tea"}`},
	} {
		t.Run(name, func(t *testing.T) {
			defer tc.client.CloseIdleConnections()
			before := ran.Load()
			minted, err := gate.Mint(context.Background(), http.MethodPost, "/orders")
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []int{http.StatusCreated, http.StatusMethodNotAllowed, http.StatusMethodNotAllowed} {
				req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+l.Addr().String()+minted.URI, strings.NewReader(tc.body))
				if err != nil {
					t.Fatal(err)
				}
				res, err := tc.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || res.StatusCode != want || want == http.StatusCreated && string(got) != tc.body {
					t.Errorf("answered %s with %.40q (%v), want %d", res.Status, got, err, want)
				}
			}
			if n := ran.Load() - before; n != 1 {
				t.Errorf("executed %d times", n)
			}
		})
	}
	if err := server.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
}
