//go:build unix

package serve_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
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
