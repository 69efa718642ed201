package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// Once a POST may have been executed, a failure names the POE URI that poe post got itself: without it, the next try is a second execution.
func TestPostFailureNamesURI(t *testing.T) {
	done := func(w http.ResponseWriter, size int) {
		w.Header().Set("POE-State", `done;id="x";status=201`)
		w.WriteHeader(http.StatusCreated)
		for ; size > 0; size -= 1 << 20 {
			if _, err := w.Write(make([]byte, min(size, 1<<20))); err != nil {
				return
			}
		}
	}
	for name, tc := range map[string]struct {
		post http.HandlerFunc
		out  io.Writer
		hint string
	}{
		"the answer cannot be printed": {
			func(w http.ResponseWriter, _ *http.Request) { done(w, 1) }, fullDisk{},
			"see what came of it with poe get 'URI', or go on with the same data: poe post 'URI'",
		},
		"the answer is too large": {
			func(w http.ResponseWriter, _ *http.Request) { done(w, 64<<20+1) }, io.Discard,
			"see what came of it with poe get --receipt 'URI'",
		},
		"a proxy in between answers": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGatewayTimeout) }, io.Discard,
			"the request was sent, and may have been executed; see what came of it with poe get 'URI'; where poe does not answer that, look at the application before you send it again",
		},
		"poe refuses": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, `{"type":"/poe/problems/not-found","retry":"never"}`)
			}, io.Discard,
			"see what is known of it with poe get 'URI'",
		},
		"a proxy in between answers, after poe": {
			func() http.HandlerFunc {
				tries := 0
				return func(w http.ResponseWriter, _ *http.Request) {
					if tries++; tries == 1 {
						w.Header().Set("POE-State", `running;id="x"`)
						w.WriteHeader(http.StatusConflict)
						return
					}
					w.WriteHeader(http.StatusBadGateway)
				}
			}(), io.Discard,
			"the request was sent, and may have been executed; see what came of it with poe get 'URI'; where poe does not answer that, look at the application before you send it again",
		},
		"the application does not show what was executed": {
			func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					w.Header().Set("POE-State", `done;id="x";status=201`)
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				w.WriteHeader(http.StatusForbidden)
			}, io.Discard,
			"do not send it again; see what came of it with poe get 'URI', as somebody who may",
		},
		"poe refuses, after a try that got no answer": {
			func() http.HandlerFunc {
				tries := 0
				return func(w http.ResponseWriter, _ *http.Request) {
					if tries++; tries == 1 {
						panic(http.ErrAbortHandler)
					}
					w.Header().Set("Content-Type", "application/problem+json")
					w.WriteHeader(http.StatusNotFound)
					_, _ = io.WriteString(w, `{"type":"/poe/problems/not-found","retry":"never"}`)
				}
			}(), io.Discard,
			"did another server answer, or one with another ledger or other keys? See what came of it with poe get 'URI' where the first try went; " +
				"where poe does not answer that, look at the application before you send it again",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/poe/new" {
					w.Header().Set("Content-Type", "application/json")
					_, _ = fmt.Fprint(w, `{"uris":[{"uri":"/orders?poe=TOKEN","id":"x","expires":"2030-01-01T00:00:00Z"}]}`)
					return
				}
				tc.post(w, r)
			}))
			defer s.Close()
			var said bytes.Buffer
			code := run(t.Context(), terminal{in: strings.NewReader(""), out: tc.out, err: &said}, []string{"post", s.URL + "/orders", "-d", "a=b"})
			want := "poe: hint: " + strings.ReplaceAll(tc.hint, "URI", s.URL+"/orders?poe=TOKEN") + "\n"
			if code != exitError || !strings.HasSuffix(said.String(), want) {
				t.Errorf("exit code %d, and it said:\n%swant at its end:\n%s", code, &said, want)
			}
		})
	}
}

// A person at a terminal must read why there is no connection, and whether anything was sent.
func TestPostSaysWhyThereIsNoConnection(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	for name, tc := range map[string]struct{ uri, says string }{
		"nobody listens": {closed.URL + "/orders?poe=T", "error: the time is over: nothing was sent so far; there is no connection (connect: connection refused)\n"},
		"no TLS there": {
			strings.Replace(plain.URL, "http:", "https:", 1) + "/orders?poe=T",
			"error: the time is over: nothing was sent so far; there is no connection (tls: first record does not look like a TLS handshake)\n",
		},
		"a certificate that is not trusted": {untrusted.URL + "/orders?poe=T", "hint: once that is mended, go on with the same data: poe post '" + untrusted.URL + "/orders?poe=T'\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			code := run(t.Context(), terminal{in: strings.NewReader(""), out: io.Discard, err: &said}, []string{"post", tc.uri, "--max-time", "300ms"})
			if code != exitError || !strings.Contains(said.String(), "poe: "+tc.says) {
				t.Errorf("exit code %d, and it said:\n%swant in it:\n%s", code, &said, tc.says)
			}
		})
	}
}
