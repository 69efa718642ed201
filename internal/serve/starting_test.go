package serve_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

// Who is told to end while the ledger is being opened ends in order: a service manager would report a failure, and start it again.
func TestStoppedWhileStarting(t *testing.T) {
	cfg := config(t, "http://127.0.0.1:9")
	ctx, stop := context.WithCancel(t.Context())
	opt := serve.Options{Log: zerolog.Nop(), Clock: func() time.Time { stop(); return time.Now() }} // the ledger asks for the time first
	if err := serve.Run(ctx, cfg, opt); err != nil {
		t.Errorf("it ends with an error: %v", err)
	}
	ctx, stop = context.WithCancel(t.Context())
	stop()
	if err := serve.Run(ctx, config(t, "http://127.0.0.1:9"), serve.Options{Log: zerolog.Nop()}); err != nil {
		t.Errorf("before it listens: %v", err)
	}
}

// A file that is named and is not there is told before a ledger is made, and all that are missing at once: a server that was started in a wrong folder leaves nothing in it.
func TestMissingFilesAreToldFirst(t *testing.T) {
	dir := t.TempDir()
	cfg := config(t, "http://127.0.0.1:9")
	cfg.Store = "pebble:" + filepath.Join(dir, "ledger")
	cfg.JWKS, cfg.AdminTokenFile, cfg.TLSCert, cfg.TLSKey = filepath.Join(dir, "jwks"), filepath.Join(dir, "token"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	err := serve.Run(t.Context(), cfg, serve.Options{Log: zerolog.Nop()})
	if !errors.As(err, new(*serve.FileError)) {
		t.Fatalf("error %v", err)
	}
	for _, missing := range []string{cfg.JWKS, cfg.AdminTokenFile, cfg.TLSCert} {
		if !strings.Contains(err.Error(), missing) {
			t.Errorf("nothing is said of %s: %v", missing, err)
		}
	}
	cfg.AdminTokenFile, cfg.TLSCert, cfg.TLSKey = "", "", ""
	if err := serve.Run(t.Context(), cfg, serve.Options{Log: zerolog.Nop()}); !errors.As(err, new(*serve.FileError)) {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is %v (%v)", left, err)
	}
}
