package serve_test

import (
	"context"
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
