package core_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// endedAt notes when the reading of its request's body was ended.
type endedAt struct {
	http.ResponseWriter
	note func()
}

func (e *endedAt) SetReadDeadline(at time.Time) error {
	if time.Now().After(at) {
		e.note()
	}
	return nil
}

// Each body has its own time, however many come and go meanwhile.
func TestReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Minute
		var mu sync.Mutex
		began, got := time.Now(), map[string]time.Duration{}
		limits := core.NewLimits()
		begin := func(name string) (end func()) {
			return limits.BeginReading(&endedAt{httptest.NewRecorder(), func() {
				mu.Lock()
				defer mu.Unlock()
				if _, twice := got[name]; twice {
					t.Errorf("%s was ended twice", name)
				}
				got[name] = time.Since(began)
			}}, limit)
		}
		at := func(d time.Duration) { <-time.After(time.Until(began.Add(d))) }

		begin("first, which does not come")
		at(10 * time.Second)
		second, third := begin("second, which comes"), begin("third, which comes later")
		at(20 * time.Second)
		begin("fourth, which does not come")
		fifth := begin("fifth, which comes")
		at(30 * time.Second)
		second()
		fifth()
		at(69 * time.Second)
		third()
		third() // nothing more happens
		at(5 * time.Minute)
		begin("one after a while in which there was none")() // which comes at once
		begin("one more, which does not come")
		at(7 * time.Minute)
		late := begin("one that comes too late")
		at(9 * time.Minute)
		late()
		mu.Lock()
		defer mu.Unlock()
		want := map[string]time.Duration{
			"first, which does not come":    limit,
			"fourth, which does not come":   20*time.Second + limit,
			"one more, which does not come": 5*time.Minute + limit,
			"one that comes too late":       7*time.Minute + limit,
		}
		if !maps.Equal(got, want) {
			t.Errorf("ended at %v, want %v", got, want)
		}
	})
}

// Those who have less time are told first, whenever they began.
func TestLimitsOfManyLengths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		began, got := time.Now(), map[string]time.Duration{}
		limits := core.NewLimits()
		begin := func(name string, d time.Duration) (lift func()) {
			return limits.BeginReading(&endedAt{httptest.NewRecorder(), func() {
				mu.Lock()
				defer mu.Unlock()
				got[name] = time.Since(began)
			}}, d)
		}
		begin("a minute", time.Minute)
		begin("ten seconds", 10*time.Second)
		begin("half a minute", 30*time.Second)
		begin("ten seconds as well", 10*time.Second)
		lift := begin("five, and then not", 5*time.Second)
		begin("no time", 0)
		lifted := begin("forty, and then not", 40*time.Second)
		<-time.After(time.Second)
		lift()
		begin("a second, from one on", time.Second)
		<-time.After(34 * time.Second)
		lifted()
		<-time.After(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		want := map[string]time.Duration{
			"no time": 0, "a second, from one on": 2 * time.Second, "ten seconds": 10 * time.Second, "ten seconds as well": 10 * time.Second,
			"half a minute": 30 * time.Second, "a minute": time.Minute,
		}
		if !maps.Equal(got, want) {
			t.Errorf("ended at %v, want %v", got, want)
		}
	})
}

// A body that does not come holds nobody: its request is answered, and nothing is executed.
func TestBodyThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.Patience = time.Minute })
		began := time.Now()
		body := &stalling{gone: make(chan struct{})}
		r := httptest.NewRequest(http.MethodPost, b.mint("/orders"), body)
		r.ContentLength = 10
		w := httptest.NewRecorder()
		b.gate.Once(core.HandlerExecutor{Handler: http.HandlerFunc(b.serve)}, nil).ServeHTTP(&endedAt{w, func() { close(body.gone) }}, r)
		if took := time.Since(began); took != time.Minute || w.Code != http.StatusBadRequest || b.executed.Load() != 0 {
			t.Errorf("answered %d after %v, executed %d times: %s", w.Code, took, b.executed.Load(), w.Body)
		}
	})
}

func (e *endedAt) SetWriteDeadline(at time.Time) error { return e.SetReadDeadline(at) }

// A limit that has been lifted is done with its writer, which must not be touched any more when its handler has returned.
func TestLimitIsDoneWithItsWriter(t *testing.T) {
	for name, limit := range map[string]func(w http.ResponseWriter) (lift func()){
		"reading": func(w http.ResponseWriter) func() { return core.NewLimits().BeginReading(w, time.Millisecond) },
		"writing": func(w http.ResponseWriter) func() { return core.LimitWrite(w, time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			entered, leave, lifted := make(chan struct{}), make(chan struct{}), make(chan struct{})
			lift := limit(&endedAt{httptest.NewRecorder(), func() { close(entered); <-leave }})
			<-entered
			go func() { lift(); close(lifted) }()
			select {
			case <-lifted:
				t.Error("it is lifted while its writer is used")
			case <-time.After(20 * time.Millisecond):
			}
			close(leave)
			<-lifted
		})
	}
}

// A body whose reader panics leaves nothing behind that would use the writer later.
func TestBodyThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.Patience = time.Minute })
		r := httptest.NewRequest(http.MethodPost, b.mint("/orders"), panicking{})
		r.ContentLength = 10
		func() {
			defer func() { _ = recover() }() // as net/http does
			w := &endedAt{httptest.NewRecorder(), func() { t.Error("the writer is used when its handler has gone") }}
			b.gate.Once(core.HandlerExecutor{Handler: http.HandlerFunc(b.serve)}, nil).ServeHTTP(w, r)
		}()
		<-time.After(time.Hour)
		synctest.Wait()
	})
}

// panicking is a body that something in front of the gate has wrapped.
type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic(http.ErrAbortHandler) }

// stalling is a body of which nothing comes until its connection's deadline.
type stalling struct{ gone chan struct{} }

func (s *stalling) Read([]byte) (int, error) {
	<-s.gone
	return 0, http.ErrBodyReadAfterClose
}

// untaken is the writer of a client that takes nothing until its connection's deadline.
type untaken struct {
	http.ResponseWriter
	gone func()
	over chan struct{}
}

func (u *untaken) Write([]byte) (int, error) {
	<-u.over
	return 0, os.ErrDeadlineExceeded
}

func (u *untaken) FlushError() error {
	<-u.over
	return os.ErrDeadlineExceeded
}

func (u *untaken) SetWriteDeadline(at time.Time) error {
	if time.Now().After(at) {
		u.gone()
	}
	return nil
}

// heldBy tells for how long a client that takes nothing holds the handler of its request; an hour is for ever.
func (b *bench) heldBy(r *http.Request) time.Duration {
	b.t.Helper()
	began, ended := time.Now(), make(chan struct{})
	over := make(chan struct{})
	w := &untaken{httptest.NewRecorder(), sync.OnceFunc(func() { close(over) }), over}
	go func() {
		defer close(ended)
		defer func() { _ = recover() }() // as net/http does
		b.handler.ServeHTTP(w, r)
	}()
	select {
	case <-ended:
	case <-time.After(time.Hour):
		w.gone()
		<-ended
	}
	return time.Since(began)
}

// A client that takes nothing of an answer that is short as it is stored, and long for a client that does not take its coding, does not hold it.
func TestDecodedAnswerThatIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.Patience = time.Minute })
		b.app = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, gz(strings.Repeat("x", 1<<20)))
		}
		r := httptest.NewRequest(http.MethodGet, b.doneIssue().outcome, nil)
		r.Header.Set("Accept-Encoding", "identity")
		if held := b.heldBy(r); held != time.Minute {
			t.Errorf("it is held for %v", held)
		}
	})
}

// Nor does one that takes nothing of an answer of ours that is longer than what waits for the end of its handler.
func TestOwnAnswersThatAreNotTaken(t *testing.T) {
	for name, ask := range map[string]struct{ target, accept string }{
		"many URIs":          {"/poe/new?for=/orders&count=1000", "application/json"},
		"many URIs, as text": {"/poe/new?for=/orders&count=1000", "text/plain"},
		"many URIs, as page": {"/poe/new?for=/orders&count=1000", "text/html"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *core.Config) { c.Patience = time.Minute })
				r := httptest.NewRequest(http.MethodGet, ask.target, nil)
				r.Header.Set("Accept", ask.accept)
				if held := b.heldBy(r); held != time.Minute {
					t.Errorf("it is held for %v", held)
				}
			})
		})
	}
}

// Nor does the client of a handler that panics, while the panic waits to go on up.
func TestAnswerOfAPanicThatIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *core.Config) { c.Patience = time.Minute })
		b.app = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		if held := b.heldBy(httptest.NewRequest(http.MethodPost, b.mint("/orders"), nil)); held != time.Minute {
			t.Errorf("it is held for %v", held)
		}
	})
}
