package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"text/template"
	"time"

	"github.com/postonce/poe/internal/client"
	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/shop"
)

// demoCmd is poe demo. A ledger that the environment names is that of a server: what was accepted there would be executed at the demonstration's shop.
type demoCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address to open in a browser (${default})."`
	Admin  string `env:"-" placeholder:"ADDR" help:"Address for poe actions, poe callbacks, poe free and metrics, such as 127.0.0.1:8081; without: none."`
	Store  string `env:"-" placeholder:"STORE" help:"Ledger to keep, pebble:DIR; without: a temporary one."`
}

// Run shows the shop until a signal.
func (c *demoCmd) Run(ctx context.Context, t terminal) (err error) {
	cfg := serve.Defaults()
	cfg.Listen, cfg.Admin, cfg.Store, cfg.LogFormat, cfg.LogLevel = c.Listen, c.Admin, c.Store, "text", "warn"
	if c.Store == "" {
		dir, err := os.MkdirTemp("", "poe-demo-")
		if err != nil {
			return fmt.Errorf("making a temporary folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		cfg.Store = "pebble:" + filepath.Join(dir, "ledger") // and what lies beside it
	}
	behind, err := newBackstage(ctx)
	if err != nil {
		return err
	}
	defer behind.close()
	cfg.Upstream = behind.url
	cfg.Grace = 5 * time.Second
	if err := demoDoors(&cfg); err != nil {
		return err
	}
	if host, _, err := net.SplitHostPort(c.Admin); err == nil && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return &usageError{err: fmt.Errorf("admin: %q can be reached from other machines, and nothing guards the demo: write 127.0.0.1:8081", c.Admin), command: "poe demo"}
	}
	if err := cfg.Check(); err != nil {
		return &usageError{err: err, command: "poe demo"}
	}
	log, err := newLog(t.err, cfg)
	if err != nil {
		return err
	}
	ready := func(at serve.Addresses) {
		behind.gate.Store(&at.URL)
		t.welcome(at.URL)
	}
	return unusable(serve.Run(ctx, cfg, serve.Options{Log: log, Ready: ready}))
}

// demoDoors opens every door to the shop. It may call back nobody but the shop, with a secret that lasts as long as the demo.
func demoDoors(cfg *serve.Config) error {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("making a secret: %w", err)
	}
	cfg.Callbacks = serve.Callbacks{
		Allow: []string{strings.TrimPrefix(cfg.Upstream, "http://")}, DangerouslyInsecure: true,
		Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString(secret)},
	}
	for _, r := range []serve.Route{
		{Name: "payments", Match: "POST /orders/{id}/payment", Unique: []string{"path:id"}},
		{Name: "gifts", Match: "POST /gifts/{ref}", ClientID: "path:ref", Repeats: "refuse"},
		{Name: "notes", Match: "PUT,DELETE /notes/{name}", Doors: []string{"poe", "key", "if-match", "if-none-match"}},
		{Name: "repeated", Match: "POST /bookings/repeat", Recovery: "repeat", MarkSent: true},
		{Name: "probed", Match: "POST /bookings/probe", Recovery: "probe", Probe: "/bookings/by-action/{id}"},
		{Name: "compensated", Match: "POST /bookings/compensate", Recovery: "compensate", Compensate: "/bookings/cancel/{id}"},
		{Name: "orders", Match: "POST *", Doors: []string{"poe", "repeatability", "key", "post-put", "async", "callback"}, KeyHeaders: []string{"Idempotency-Key", "Tracking-Id"}},
	} {
		cfg.Routes = append(cfg.Routes, cfg.Usual(r))
	}
	return nil
}

// A backstage is the shop on a loopback port of its own, where only the gateway finds it.
type backstage struct {
	url    string
	gate   atomic.Pointer[string] // the gateway's URL, once it is there
	server *http.Server
	mints  *client.Client
}

func newBackstage(ctx context.Context) (*backstage, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the shop: %w", err)
	}
	b := &backstage{url: "http://" + l.Addr().String(), mints: client.New(client.Config{Attempt: 5 * time.Second})}
	b.server = &http.Server{Handler: shop.New(shop.Config{Mint: b.mint, Hooks: b.url + "/hooks"}), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = b.server.Serve(l) }() // it ends when close closes it
	return b, nil
}

// mint asks the gateway for a single-use address, as any page on a server would. The form gets path and query only, so
// that it works under whatever name the browser has for this machine.
func (b *backstage) mint(ctx context.Context, target string) (string, error) {
	gate := b.gate.Load()
	if gate == nil {
		return "", errors.New("the gateway is not there yet")
	}
	all, err := b.mints.Mint(ctx, client.MintRequest{URL: *gate + target})
	if err != nil {
		return "", err
	}
	u, err := url.Parse(all[0].URI)
	if err != nil {
		return "", fmt.Errorf("reading the minted address: %w", err)
	}
	return u.RequestURI(), nil
}

func (b *backstage) close() { _ = b.server.Close() } // nothing that anybody waits for

//go:embed welcome.txt
var welcomeText string

// welcome prints what to do.
func (t terminal) welcome(gate string) {
	text := template.Must(template.New("welcome").Parse(welcomeText))
	var b strings.Builder
	if err := text.Execute(&b, gate); err != nil {
		panic(err) // our own template
	}
	_ = t.print("%s", b.String()) // the shop is open all the same
}
