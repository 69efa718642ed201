package core_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// once guards h with b's gate.
func (b *bench) once(h http.Handler) http.Handler {
	return b.gate.Once(core.HandlerExecutor{Handler: h}, h)
}

// cloning is something in front of h that gives it a copy of the request.
func cloning(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r.Clone(r.Context())) })
}

// making is something in front of h that makes a request of its own with all that the other one has.
func making(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), r.Body)
		if err != nil {
			panic(err)
		}
		out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
		h.ServeHTTP(w, out)
	})
}

// The request that is executed comes to a handler one time. What brings it again, be it an accepted one, is refused, and makes no action.
func TestBroughtTwice(t *testing.T) {
	b := newBench(t, nil)
	inner := b.once(http.HandlerFunc(b.serve))
	b.gate.Defer(core.HandlerExecutor{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		again := httptest.NewRecorder()
		inner.ServeHTTP(w, r)
		inner.ServeHTTP(again, r.Clone(r.Context()))
		if again.Code != 500 {
			t.Errorf("the second time: %d", again.Code)
		}
	})})
	at := monitor(t, b.do("POST", "/orders", "x", "Prefer: respond-async"))
	b.work()
	if res := b.do("GET", at, ""); !strings.HasPrefix(res.Header.Get("POE-State"), "done") || b.executed.Load() != 1 {
		t.Errorf("%s, executed %d times", res.Header.Get("POE-State"), b.executed.Load())
	}
}

// A handler that ends its goroutine gives its worker back.
func TestWorkersOutliveTheirHandlers(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Workers = 1 })
	b.gate.Defer(core.HandlerExecutor{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() })})
	for range 3 {
		monitor(t, b.do("POST", "/orders", "x", "Prefer: respond-async"))
	}
	b.work()
	b.gate.Defer(core.HandlerExecutor{Handler: http.HandlerFunc(b.serve)})
	at := monitor(t, b.do("POST", "/orders", "x", "Prefer: respond-async"))
	b.work()
	if res := b.do("GET", at, ""); !strings.HasPrefix(res.Header.Get("POE-State"), "done") {
		t.Errorf("after them: %s", res.Header.Get("POE-State"))
	}
}

// What streams to nobody has no more time than another execution.
func TestAcceptedStreamEnds(t *testing.T) {
	b := newBench(t, func(c *core.Config) { c.Timeout = 50 * time.Millisecond })
	b.gate.Defer(core.HandlerExecutor{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})})
	at := monitor(t, b.do("POST", "/orders", "x", "Prefer: respond-async"))
	b.work()
	if res := b.do("GET", at+"/receipt", ""); !strings.Contains(text(t, res), `"state":"done"`) {
		t.Error("it is not done")
	}
}

// A request that comes through Once several times is guarded once, and executed once.
func TestOnceAroundOnce(t *testing.T) {
	for name, around := range map[string]func(b *bench, h http.Handler) http.Handler{
		"twice":       func(b *bench, h http.Handler) http.Handler { return b.once(b.once(h)) },
		"three times": func(b *bench, h http.Handler) http.Handler { return b.once(b.once(b.once(h))) },
		"with a prefix between": func(b *bench, h http.Handler) http.Handler {
			return b.once(http.StripPrefix("/api", b.once(h)))
		},
		"behind a copy":              func(b *bench, h http.Handler) http.Handler { return cloning(b.once(b.once(h))) },
		"with a copy between":        func(b *bench, h http.Handler) http.Handler { return b.once(cloning(b.once(cloning(b.once(h))))) },
		"behind a new request":       func(b *bench, h http.Handler) http.Handler { return making(b.once(h)) },
		"with a new request between": func(b *bench, h http.Handler) http.Handler { return b.once(making(b.once(h))) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			guarded := around(b, http.HandlerFunc(b.serve))
			b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if b.gate.Owns(r.URL.Path) {
					b.gate.ServeHTTP(w, r)
					return
				}
				guarded.ServeHTTP(w, r)
			})
			b.gate.Defer(core.HandlerExecutor{Handler: guarded})
			for i, send := range []func() *http.Response{
				func() *http.Response { return b.do("POST", "/api/orders", "x", "Idempotency-Key: k") },
				func() *http.Response { return b.do("POST", b.mint("/api/orders"), "x") },
				func() *http.Response {
					at := monitor(t, b.do("POST", "/api/orders", "x", "Prefer: respond-async"))
					b.work()
					return b.do("GET", at, "")
				},
			} {
				if res := send(); res.StatusCode != 201 && res.Header.Get("Location") == "" || b.executed.Load() != int64(i+1) {
					t.Errorf("%d: %d %v, executed %d times", i, res.StatusCode, res.Header, b.executed.Load())
				}
			}
		})
	}
}

// What a handler asks its own program for is guarded, however the handler was called: by a client, by a worker, by recovery.
func TestRequestsOfHandlers(t *testing.T) {
	// pays makes the payment twice under one key, as a handler does that retries.
	pays := func(ctx context.Context, app http.Handler, like *http.Request, key string) {
		for range 2 {
			sub, err := http.NewRequestWithContext(ctx, http.MethodPost, "/payments", strings.NewReader("5"))
			if err != nil {
				t.Error(err)
				return
			}
			if like != nil { // a copy of the handler's own request
				sub.Header, sub.RequestURI = like.Header.Clone(), like.RequestURI
			}
			sub.Header.Set("Idempotency-Key", key)
			app.ServeHTTP(httptest.NewRecorder(), sub)
		}
	}
	var b *bench
	var mux *http.ServeMux
	start := func(t *testing.T, r core.Route) (paid *int) {
		t.Helper()
		paid = new(int)
		b = newBench(t, func(c *core.Config) {
			r.Name, r.Match = "orders", "POST /orders"
			c.Routes = []core.Route{r, {Name: "rest", Match: "POST *"}}
		})
		mux = http.NewServeMux()
		mux.Handle("/poe/", b.gate)
		mux.Handle("/payments", b.once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			*paid++
			w.WriteHeader(http.StatusCreated)
		})))
		b.handler = mux
		b.gate.Defer(core.HandlerExecutor{Handler: mux})
		return paid
	}
	for _, copied := range []bool{false, true} {
		paying := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var like *http.Request
			if copied {
				like = r
			}
			pays(r.Context(), mux, like, "pay-"+strconv.FormatBool(copied))
			w.WriteHeader(http.StatusCreated)
		})
		name := map[bool]string{false: "", true: ", copied"}[copied]
		t.Run("of a client"+name, func(t *testing.T) {
			paid := start(t, core.Route{})
			mux.Handle("/orders", b.once(paying))
			if b.do("POST", "/orders", "x", "Idempotency-Key: k"); *paid != 1 {
				t.Errorf("paid %d times", *paid)
			}
		})
		t.Run("accepted"+name, func(t *testing.T) {
			paid := start(t, core.Route{})
			mux.Handle("/orders", cloning(b.once(paying)))
			monitor(t, b.do("POST", "/orders", "x", "Idempotency-Key: k", "Prefer: respond-async"))
			if b.work(); *paid != 1 {
				t.Errorf("paid %d times", *paid)
			}
		})
	}
	t.Run("compensation", func(t *testing.T) {
		paid := start(t, core.Route{Recovery: core.RecoveryCompensate, Compensate: "/undo/{id}"})
		mux.Handle("/orders", b.once(answering(502)))
		mux.HandleFunc("/undo/", func(_ http.ResponseWriter, r *http.Request) { pays(r.Context(), mux, nil, "pay") }) // not guarded itself
		b.do("POST", "/orders", "x", "Idempotency-Key: k")
		if b.work(); *paid != 1 {
			t.Errorf("paid %d times", *paid)
		}
	})
	t.Run("function of a program", func(t *testing.T) {
		paid := start(t, core.Route{Recover: func(ctx context.Context, _ core.Unresolved) (core.Resolution, error) {
			pays(ctx, mux, nil, "pay")
			return core.Resolution{}, nil
		}})
		mux.Handle("/orders", b.once(answering(502)))
		b.do("POST", "/orders", "x", "Idempotency-Key: k")
		b.advance(2e9)
		if b.work(); *paid != 1 {
			t.Errorf("paid %d times", *paid)
		}
	})
}

// Whom a handler has left behind sends its request on when the action has ended, and may be executed again. What comes to another Once then is guarded: it is executed, or the
// client's next try is, and not both.
func TestSentOnAfterTheEnd(t *testing.T) {
	for name, send := range map[string]func(inner http.Handler, r *http.Request){
		"itself": func(inner http.Handler, r *http.Request) { inner.ServeHTTP(httptest.NewRecorder(), r) },
		"what is left of its path": func(inner http.Handler, r *http.Request) {
			http.StripPrefix("/api", inner).ServeHTTP(httptest.NewRecorder(), r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			inner := b.once(http.HandlerFunc(b.serve))
			ended, sent := make(chan struct{}), make(chan struct{})
			b.handler = b.once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				go func() {
					<-ended
					send(inner, r.Clone(context.WithoutCancel(r.Context())))
					close(sent)
				}()
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable) // which says that nothing was done
			}))
			res := b.do("POST", "/api/orders", "", "Idempotency-Key: k")
			close(ended)
			<-sent
			if state := res.Header.Get("POE-State"); !strings.HasPrefix(state, "unused") {
				t.Fatal(state)
			}
			b.handler = b.once(http.HandlerFunc(b.serve))
			if res := b.do("POST", "/api/orders", "", "Idempotency-Key: k"); b.executed.Load() != 1 {
				t.Errorf("executed %d times, %d", b.executed.Load(), res.StatusCode)
			}
		})
	}
}
