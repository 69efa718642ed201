package core_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// A process that knows nothing yet of an action that was done before it claims it, on a duplicate, to find out. Whoever asks in the meantime is not
// told that it runs.
func TestClaimingIsNotRunning(t *testing.T) {
	for _, tt := range []struct {
		name string
		app  http.HandlerFunc
		want string
	}{
		{"done", nil, "done"},
		{"unknown", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.app = tt.app
				i := b.issue("/orders")
				func() {
					defer func() { _ = recover() }() // as net/http does
					b.do("POST", i.URI, "apples")
				}()
				claimed, leave := make(chan struct{}), make(chan struct{})
				spy := &spyStore{Store: b.store, claim: func(store.Record) error { close(claimed); <-leave; return nil }}
				spool, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				if b.gate, err = core.New(t.Context(), core.Config{Store: spy, Keys: b.keys, Spool: spool, Clock: b.clock}); err != nil {
					t.Fatal(err)
				}
				b.mount(core.HandlerExecutor{Handler: http.HandlerFunc(b.serve)})
				go b.do("POST", i.URI, "apples")
				<-claimed
				state := ""
				go func() { state, _, _ = strings.Cut(b.do("GET", i.URI, "").Header.Get("POE-State"), ";") }()
				synctest.Wait()
				if state != "" {
					t.Errorf("while somebody claims it, it is said to be %s", state)
				}
				close(leave)
				synctest.Wait()
				if state != tt.want {
					t.Errorf("it is said to be %q, and is %s", state, tt.want)
				}
			})
		})
	}
}

// A claim that fails wakes who waits for it.
func TestClaimingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claimed, leave := make(chan struct{}), make(chan struct{})
		b := newBench(t, func(c *core.Config) {
			c.Store = &spyStore{Store: c.Store, claim: func(store.Record) error {
				close(claimed)
				<-leave
				return errors.Join(store.ErrUnavailable)
			}}
		})
		i := b.issue("/orders")
		go b.do("POST", i.URI, "apples")
		<-claimed
		state := ""
		go func() { state, _, _ = strings.Cut(b.do("GET", i.URI, "").Header.Get("POE-State"), ";") }()
		synctest.Wait()
		close(leave)
		synctest.Wait()
		if state != "unused" {
			t.Errorf("nothing was claimed, and it is said to be %q", state)
		}
	})
}
