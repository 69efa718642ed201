// Package roles has the servers of a measurement that are written in Go: each is run in a process of its own by the command, which starts itself again.
package roles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"

	"github.com/postonce/poe"
)

// Config is what a server is told.
type Config struct {
	Listen   string // address
	Behind   string // what it rests on: the application of a proxy, the folder of a ledger, the address of a database
	Upstream string // of a floor: the application that it stands in front of; "": that is in its own process
}

// Roles are the servers, by their names. Each serves until ctx ends.
func Roles() map[string]func(ctx context.Context, cfg Config) error {
	return map[string]func(context.Context, Config) error{
		"bare": bare,
		"bare-poe-server": func(ctx context.Context, cfg Config) error {
			return serveByPoe(ctx, cfg.Listen, http.HandlerFunc(order))
		},
		"proxy":             proxy,
		"embedded":          func(ctx context.Context, cfg Config) error { return embedded(ctx, cfg, serveByPoe) },
		"embedded-net-http": func(ctx context.Context, cfg Config) error { return embedded(ctx, cfg, serve) },
		"floor-log":         floorLog,
		"floor-ledger":      floorLedger,
		"floor-answer":      floorAnswer,
		"fiber-memory":      fiberMemory,
		"fiber-redis":       fiberRedis,
		"table":             table,
		"restate":           restateService,
	}
}

// order is the application: it reads the body and answers with a small document.
func order(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Location", "/orders/1")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(body) // a client that is gone is counted by the load generator
}

// serve serves until ctx ends.
func serve(ctx context.Context, address string, h http.Handler) error {
	l, err := net.Listen("tcp", address) //nolint:noctx // loopback
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	srv := &http.Server{Handler: h} //nolint:gosec // a measurement on loopback
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func bare(ctx context.Context, cfg Config) error {
	return serve(ctx, cfg.Listen, http.HandlerFunc(order))
}

func proxy(ctx context.Context, cfg Config) error {
	u, err := url.Parse(cfg.Behind)
	if err != nil {
		return fmt.Errorf("reading the address of the application: %w", err)
	}
	t := &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
	return serve(ctx, cfg.Listen, &httputil.ReverseProxy{Transport: t, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }})
}

// embedded is a program as docs/embedding.md has it.
// serveByPoe serves as serve does, by poe's server.
func serveByPoe(ctx context.Context, address string, h http.Handler) error {
	l, err := net.Listen("tcp", address) //nolint:noctx // loopback
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	srv := poe.NewServer(&http.Server{Handler: h}) //nolint:gosec // a measurement on loopback
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func embedded(ctx context.Context, cfg Config, serve func(ctx context.Context, address string, h http.Handler) error) (err error) {
	tune()
	gate, err := poe.Open(ctx, poe.Config{Store: "pebble:" + cfg.Behind})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.Close(context.WithoutCancel(ctx))) }()
	mux := http.NewServeMux()
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", gate.Once(http.HandlerFunc(order)))
	return serve(ctx, cfg.Listen, mux)
}

// tune does what docs/embedding.md says of the program's main, and poe serve does.
func tune() {
	poe.RaiseTimerSlack()
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
