package main

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

	"github.com/rs/zerolog"

	"github.com/postonce/poe"
	server "github.com/postonce/poe/internal/serve"
)

// serveHandler serves until ctx ends. It prints its address first.
func serveHandler(ctx context.Context, h http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h} //nolint:gosec // a measurement on loopback
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	_, _ = fmt.Fprintf(os.Stdout, "http://%s\n", l.Addr())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
	_, _ = w.Write(body)
}

// serve is one of the servers under test, until ctx ends.
func serve(ctx context.Context, role, upstream string) error {
	switch role {
	case "bare":
		return serveHandler(ctx, http.HandlerFunc(order))
	case "embedded":
		return embedded(ctx)
	case "proxy":
		return proxy(ctx, upstream)
	case "gateway":
		return gateway(ctx, upstream)
	default:
		return fmt.Errorf("no server %q", role)
	}
}

func embedded(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "poe-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	gate, err := poe.Open(ctx, poe.Config{Store: "pebble:" + dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gate.Close(context.WithoutCancel(ctx))) }()
	mux := http.NewServeMux()
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", gate.Once(http.HandlerFunc(order)))
	return serveHandler(ctx, mux)
}

func proxy(ctx context.Context, upstream string) error {
	u, err := url.Parse(upstream)
	if err != nil {
		return err
	}
	t := &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
	return serveHandler(ctx, &httputil.ReverseProxy{Transport: t, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }})
}

func gateway(ctx context.Context, upstream string) (err error) {
	dir, err := os.MkdirTemp("", "poe-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg := server.Defaults()
	cfg.Listen, cfg.Admin, cfg.Upstream, cfg.Store = "127.0.0.1:0", "", upstream, "pebble:"+dir
	return server.Run(ctx, cfg, server.Options{Log: zerolog.Nop(), Ready: func(at server.Addresses) {
		_, _ = fmt.Fprintln(os.Stdout, at.URL)
	}})
}
