//go:build unix

package serve_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A new token counts from the next SIGHUP on; a file that has none changes nothing.
func TestTokenIsReadAgain(t *testing.T) {
	kept := make(chan os.Signal, 1)
	signal.Notify(kept, syscall.SIGHUP) // whoever is slow to listen must not end this process
	defer signal.Stop(kept)
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.AdminTokenFile = tokenFile(t, secret, 0o600)
	s := run(t, cfg)
	with := func(token string) int {
		res, _ := get(t, s.at.Admin+"/actions", "Authorization: Bearer "+token)
		return res.StatusCode
	}
	const next = "another token, without its spaces" // no token
	for _, step := range []struct{ content, good, bad string }{
		{strings.ReplaceAll(next, " ", "-"), strings.ReplaceAll(next, " ", "-"), secret}, {"short", strings.ReplaceAll(next, " ", "-"), "short"}, {secret, secret, "short"},
	} {
		if err := os.WriteFile(cfg.AdminTokenFile, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(10 * time.Millisecond)
		for late := time.After(30 * time.Second); ; {
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			if with(step.good) == 200 && with(step.bad) == 401 {
				break
			}
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("after %q: %d and %d", step.content, with(step.good), with(step.bad))
			}
		}
		tick.Stop()
	}
}
