//go:build unix

package serve_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

// A SIGHUP that comes while the server starts is heard: unheard it would end the process, and the keys that it is about would stay the old ones.
func TestHangupWhileStarting(t *testing.T) {
	saved := make(chan os.Signal, 1) // the test goes on in any case
	signal.Notify(saved, syscall.SIGHUP)
	defer signal.Stop(saved)
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.JWKS = filepath.Join(t.TempDir(), "jwks.json")
	if err := syscall.Mkfifo(cfg.JWKS, 0o600); err != nil {
		t.Fatal(err)
	}
	reads, serving := make(chan error, 2), make(chan struct{})
	go func() { // the start waits for the set, and so does whoever reads it again
		for i := range 2 {
			f, err := os.OpenFile(cfg.JWKS, os.O_WRONLY, 0)
			if err == nil {
				if i == 0 {
					_ = syscall.Kill(os.Getpid(), syscall.SIGHUP)
					<-saved
				}
				_, err = f.WriteString(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
				_ = f.Close()
			}
			reads <- err
			<-serving // or the next writer would meet this reader
		}
	}()
	run(t, cfg)
	close(serving)
	for range 2 {
		select {
		case err := <-reads:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the keys were not read again")
		}
	}
}

// A set that is read again for ever, as one that is a pipe which nobody writes to, or that lies on a disk that does not answer, does not keep the server from its end.
func TestEndWhileKeysAreRead(t *testing.T) {
	saved := make(chan os.Signal, 1) // the test goes on in any case
	signal.Notify(saved, syscall.SIGHUP)
	defer signal.Stop(saved)
	cfg := config(t, "http://127.0.0.1:9")
	cfg.JWKS = filepath.Join(t.TempDir(), "jwks.json")
	const set = `{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	if err := os.WriteFile(cfg.JWKS, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	s := run(t, cfg)
	if err := errors.Join(os.Remove(cfg.JWKS), syscall.Mkfifo(cfg.JWKS, 0o600), syscall.Kill(os.Getpid(), syscall.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(cfg.JWKS, os.O_WRONLY, 0) // it waits for who reads
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	s.stop()
	ended := make(chan error, 1)
	go func() { ended <- s.end() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
}

// So it is while a set, or a certificate, is read for the first time.
func TestEndWhileFilesAreRead(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]func(*serve.Config){
		"jwks":     func(c *serve.Config) { c.JWKS = pipe },
		"tls_cert": func(c *serve.Config) { c.TLSCert, c.TLSKey = pipe, pipe },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, "http://127.0.0.1:9")
			use(&cfg)
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- serve.Run(ctx, cfg, serve.Options{Log: zerolog.Nop()}) }()
			f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // it waits for who reads
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			stop()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("it does not end")
			}
		})
	}
}
