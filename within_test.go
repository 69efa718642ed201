package poe_test

import (
	"bytes"
	"context"
	"errors"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/postonce/poe"
)

// unsayable is a panic value, and an error, that cannot be told.
type unsayable struct{ told map[string]string }

func (u unsayable) MarshalJSON() ([]byte, error) { return u.say() }

func (u unsayable) Error() string {
	_, _ = u.say()
	return ""
}

func (u unsayable) say() ([]byte, error) {
	u.told["x"] = "y" // of a nil map: it panics
	return nil, nil
}

// guardedBuffer is a log that is written to and read at a time.
type guardedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (g *guardedBuffer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all.Write(p)
}

func (g *guardedBuffer) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all.String()
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// What a handler panics with where no client waits is logged, and need not be something that can be.
func TestPanicIsSaid(t *testing.T) {
	for name, tc := range map[string]struct {
		value any
		says  string
	}{
		"an error":                   {errors.New("the till is open"), "the till is open"},
		"what cannot say what it is": {unsayable{}, "a handler panicked"},
	} {
		t.Run(name, func(t *testing.T) {
			log, app := new(guardedBuffer), http.NewServeMux()
			gate := openGate(t, poe.Config{App: app, Log: zerolog.New(log)})
			app.Handle("/poe/", gate)
			app.Handle("/orders", gate.Once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(tc.value) })))
			gate.Resume()
			if res := ask(app, "POST", "/orders", "Prefer: respond-async"); res.StatusCode != http.StatusAccepted {
				t.Fatal(res.StatusCode)
			}
			eventually(t, tc.says, func() bool { return strings.Contains(log.String(), tc.says) })
		})
	}
}

// The program is asked what became of an action, and returns an error that cannot say what it is. Nobody else's goroutine ends by it.
func TestRecoverReturnsTheUnsayable(t *testing.T) {
	log, app := new(guardedBuffer), http.NewServeMux()
	gate := openGate(t, poe.Config{App: app, Log: zerolog.New(log), Routes: []poe.Route{{Match: "POST *", Recover: func(context.Context, poe.Unresolved) (poe.Resolution, error) {
		return poe.Resolution{}, unsayable{}
	}}}})
	ask(gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })), "POST", "/a", "Idempotency-Key: k")
	eventually(t, "asked", func() bool { return strings.Contains(log.String(), "asking the program") })
}

// A form's files are removed when its handler has ended, whoever waits, and whoever has copied the request on its way.
func TestFormOfACopy(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	type key struct{}
	app := http.NewServeMux()
	copying := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		app.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, 1)))
	})
	gate := openGate(t, poe.Config{App: copying})
	inner := gate.Once(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
		}
	}))
	app.Handle("/poe/", gate)
	app.Handle("/orders", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		if there, err := filepath.Glob(filepath.Join(dir, "multipart-*")); err != nil || len(there) == 0 {
			t.Errorf("the form is gone before its handler has ended, or was on no disk (%v)", err)
		}
	})))
	gate.Resume()
	for _, prefer := range []string{"wait=5", "respond-async"} {
		var form bytes.Buffer
		m := multipart.NewWriter(&form)
		part, err := m.CreateFormFile("f", "f.txt")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(make([]byte, 6<<20)); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/orders", &form)
		r.Header = http.Header{"Content-Type": {m.FormDataContentType()}, "Idempotency-Key": {prefer}, "Prefer": {prefer}}
		w := httptest.NewRecorder()
		copying.ServeHTTP(w, r)
		if w.Code >= 300 {
			t.Fatal(w.Code)
		}
		if at := w.Header().Get("Location"); at != "" {
			eventually(t, "done", func() bool { return strings.HasPrefix(ask(copying, "GET", at).Header.Get("POE-State"), "done") })
		}
		if left, err := filepath.Glob(filepath.Join(dir, "multipart-*")); err != nil || len(left) > 0 {
			t.Errorf("%s: %d files left, %v", prefer, len(left), err)
		}
	}
}

// Something between two Onces changes the path of what is executed, so that it is another request to the second one, and the action it executes comes back
// to itself in the end. That is no outcome that anybody could take for success.
func TestPathChangedBetween(t *testing.T) {
	log, app := new(guardedBuffer), http.NewServeMux()
	var executed atomic.Int64
	var whole http.Handler
	gate := openGate(t, poe.Config{
		Log:    zerolog.New(log),
		App:    http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { whole.ServeHTTP(w, r) }),
		Routes: []poe.Route{{Match: "POST *", Async: true}},
	})
	app.Handle("/poe/", gate)
	app.Handle("/orders", gate.Once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { executed.Add(1) })))
	app.Handle("/orders/", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
		app.ServeHTTP(w, out)
	})))
	whole = app
	gate.Resume()
	if res := ask(app, "POST", "/orders/"); res.StatusCode != http.StatusAccepted {
		t.Fatal(res.StatusCode)
	}
	eventually(t, "executed, or said to be wrong", func() bool { return executed.Load() > 0 || strings.Contains(log.String(), "waits for itself") })
}

// What is in front of a program's first Once, or between two, may scope a key, or take it away. What was accepted is executed all the same, and once.
func TestKeyChangedOnTheWay(t *testing.T) {
	for name, change := range map[string]func(h http.Header){
		"scoped":     func(h http.Header) { h.Set("Idempotency-Key", "tenant5-"+strings.Trim(h.Get("Idempotency-Key"), `"`)) },
		"taken away": func(h http.Header) { h.Del("Idempotency-Key") },
	} {
		t.Run(name, func(t *testing.T) {
			app := http.NewServeMux()
			var executed, came atomic.Int64
			whole := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					came.Add(1)
					change(r.Header)
				}
				app.ServeHTTP(w, r)
			})
			gate := openGate(t, poe.Config{App: whole, Routes: []poe.Route{{Match: "POST *", Async: true}}})
			app.Handle("/poe/", gate)
			app.Handle("/orders", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				executed.Add(1)
				w.WriteHeader(http.StatusCreated)
			})))
			gate.Resume()
			at := ask(whole, "POST", "/orders", "Idempotency-Key: k").Header.Get("Location")
			eventually(t, "done", func() bool { return strings.HasPrefix(ask(whole, "GET", at).Header.Get("POE-State"), "done") })
			if state := ask(whole, "GET", at).Header.Get("POE-State"); executed.Load() != 1 || came.Load() != 2 || !strings.Contains(state, "status=201") {
				t.Errorf("came %d times, executed %d times: %s", came.Load(), executed.Load(), state)
			}
		})
	}
	for name, change := range map[string]func(h http.Header){
		"scoped between":     func(h http.Header) { h.Set("Idempotency-Key", "tenant5-"+h.Get("Idempotency-Key")) },
		"taken away between": func(h http.Header) { h.Del("Idempotency-Key") },
	} {
		t.Run(name, func(t *testing.T) {
			var executed atomic.Int64
			gate := openGate(t, poe.Config{Routes: []poe.Route{{Match: "POST *", Require: true}}})
			inner := gate.Once(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { executed.Add(1) }))
			app := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				change(r.Header)
				inner.ServeHTTP(w, r)
			}))
			res := ask(app, "POST", "/orders", "Idempotency-Key: k")
			if id, _, _ := strings.Cut(res.Header.Get("POE-State"), ";at="); res.StatusCode != http.StatusOK || executed.Load() != 1 || !strings.HasPrefix(id, "done") {
				t.Errorf("%d %s, executed %d times", res.StatusCode, id, executed.Load())
			}
			again := ask(app, "POST", "/orders", "Idempotency-Key: tenant5-k") // which nobody has used
			if strings.HasSuffix(again.Header.Get("POE-State"), ";replayed") {
				t.Errorf("the same action is under two keys: %s", again.Header.Get("POE-State"))
			}
		})
	}
}
