package poe_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/postonce/poe"
)

// A handler copies from a source that gives nothing and fails, and then says so. With net/http that is its answer, since nothing was written yet.
func TestCopyThatFailsBeforeItBegins(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.Copy(w, iotest.ErrReader(errors.New("no connection to the bank"))); err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "nothing was done", http.StatusServiceUnavailable)
		}
	})
	gate := openGate(t, poe.Config{})
	for name, h := range map[string]http.Handler{"plain": handler, "behind Once": gate.Once(handler)} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(h)
			defer server.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/orders", strings.NewReader("apples"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Idempotency-Key", "k")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%d %q, POE-State %q; want the handler's 503", res.StatusCode, body, res.Header.Get("POE-State"))
			}
		})
	}
}

// The same with a DELETE that passes through: it has deleted nothing, and gives no business key back.
func TestDeleteWhoseCopyFails(t *testing.T) {
	var created atomic.Int64
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			if _, err := io.Copy(w, iotest.ErrReader(errors.New("no"))); err != nil {
				http.Error(w, "not deleted", http.StatusInternalServerError)
			}
			return
		}
		created.Add(1)
		w.Header().Set("Location", "/users/1")
		w.WriteHeader(http.StatusCreated)
	})
	gate := openGate(t, poe.Config{Routes: []poe.Route{{Name: "users", Match: "POST /users", Unique: []string{"json:/email"}, FreeOn: []string{"DELETE"}}}})
	server := httptest.NewServer(gate.Once(app))
	defer server.Close()
	do := func(method, path, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if code := do("POST", "/users", `{"email":"a@b"}`); code != 201 {
		t.Fatal(code)
	}
	if code := do("DELETE", "/users/1", ""); code != 500 {
		t.Fatalf("DELETE: %d", code)
	}
	code := do("POST", "/users", `{"email":"a@b"}`)
	if n := created.Load(); n != 1 {
		t.Errorf("created %d times (%d): a DELETE that failed gave the business key back", n, code)
	}
}

// An accepted action whose handler is a ReverseProxy: the answer of the application behind it breaks off. Half an answer is none, be there a client or not.
func TestAcceptedBehindAReverseProxy(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"order":`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // the connection breaks: no last chunk
	}))
	defer behind.Close()
	to, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	app := http.NewServeMux()
	gate := openGate(t, poe.Config{App: app})
	app.Handle("/poe/", gate)
	app.Handle("/orders", gate.Once(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}))
	gate.Resume()
	server := httptest.NewServer(app)
	defer server.Close()
	do := func(method, path string, fields ...string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return res, string(body)
	}
	if res, body := do("POST", "/orders", "Idempotency-Key: waits"); !strings.HasPrefix(res.Header.Get("POE-State"), "unknown") {
		t.Fatalf("with a client: %d %s %s", res.StatusCode, res.Header.Get("POE-State"), body)
	}
	res, _ := do("POST", "/orders", "Idempotency-Key: later", "Prefer: respond-async")
	if res.StatusCode != http.StatusAccepted {
		t.Fatal(res.StatusCode)
	}
	outcome := res.Header.Get("Location")
	var body string
	eventually(t, "it comes to rest", func() bool {
		res, body = do("GET", outcome)
		state, _, _ := strings.Cut(res.Header.Get("POE-State"), ";")
		return state == "done" || state == "unknown"
	})
	if !strings.HasPrefix(res.Header.Get("POE-State"), "unknown") {
		t.Errorf("accepted: %d, POE-State %q, content %q: half an answer is stored as the whole one", res.StatusCode, res.Header.Get("POE-State"), body)
	}
}

// A handler that sends the request on, as docs/embedding.md says: the application behind executes it and dies before it has answered, on a connection that was used
// before. It must not have it once more, though http.Transport repeats what has a key.
func TestSentOnOnce(t *testing.T) {
	var executed atomic.Int32
	behind := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return
		}
		executed.Add(1)
		if r.Header.Get("Idempotency-Key") == "" {
			t.Error("the key is gone")
		}
		panic(http.ErrAbortHandler)
	}))
	defer behind.Close()
	application, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	gate := openGate(t, poe.Config{})
	server := httptest.NewServer(gate.Once(&httputil.ReverseProxy{Transport: &http.Transport{}, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(application)
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if key, ok := r.Out.Header[name]; ok {
				delete(r.Out.Header, name)
				r.Out.Header[strings.ToLower(name)] = key
			}
		}
	}}))
	defer server.Close()
	minted, err := gate.Mint(t.Context(), http.MethodPost, "/orders")
	if err != nil {
		t.Fatal(err)
	}
	for i, fields := range [][]string{{minted.URI}, {"/orders", "Idempotency-Key"}, {"/orders", "Idempotency-Key", "X-Idempotency-Key"}} {
		for _, method := range []string{http.MethodGet, http.MethodPost} { // the first leaves a connection that is used again
			target := "/"
			if method == http.MethodPost {
				target = fields[0]
			}
			req, err := http.NewRequestWithContext(t.Context(), method, server.URL+target, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range fields[1:] {
				req.Header.Set(name, strconv.Itoa(i))
			}
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if state := res.Header.Get("POE-State"); method == http.MethodPost && !strings.HasPrefix(state, "unknown") {
				t.Errorf("%v: %d %s", fields[1:], res.StatusCode, state)
			}
		}
		if n := executed.Swap(0); n != 1 {
			t.Errorf("%v: executed %d times", fields[1:], n)
		}
	}
}
