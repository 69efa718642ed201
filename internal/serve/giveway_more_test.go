package serve_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// A connection of HTTP/2 without a stream is idle, too.
func TestIdleConnectionsOfHTTP2GiveWay(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.MaxConnections = 1
	s := run(t, cfg)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: protocols}
	defer client.CloseIdleConnections()
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.at.URL+"/poe/problems/", http.NoBody)
		if err != nil {
			return err
		}
		res, err := client.RoundTrip(r)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	late := dialTo(t, s.at.URL)
	late.ask("/poe/problems/")
	if err := late.answered(10 * time.Second); err != nil {
		t.Errorf("the newcomer: %v", err)
	}
	client.CloseIdleConnections() // it may not have heard yet
	if err := ask(); err != nil {
		t.Errorf("whoever gave way: %v", err)
	}
}

// It is told twice for each request, which must cost next to nothing.
func TestFollowingAllocatesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, follow := serve.Follower(l, time.Now)
	defer func() { _ = b.Close() }()
	dialTo(t, "http://"+l.Addr().String())
	c, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for name, c := range map[string]net.Conn{"plain": c, "TLS": tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12})} {
		if n := testing.AllocsPerRun(1000, func() { follow(c, http.StateActive); follow(c, http.StateIdle) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		begun := time.Now()
		for range 100_000 {
			follow(c, http.StateActive)
			follow(c, http.StateIdle)
		}
		t.Logf("%s: %s a request", name, time.Since(begun)/100_000)
	}
}
