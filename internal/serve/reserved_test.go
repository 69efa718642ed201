package serve_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
)

// What an application says in POE-State and POE-Links reaches nobody: neither beside what we say of an action, nor where nothing is guarded.
func TestApplicationSaysNoState(t *testing.T) {
	say := func(h http.Header, prefix string) {
		h.Set(prefix+"POE-State", "burned")
		h.Set(prefix+"Poe-Links", `"/evil"`)
	}
	// What passes through may have them in an interim answer, by which no client goes.
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("announced") {
			w.Header().Set("Trailer", "POE-State, POE-Links, X-Sum")
		}
		say(w.Header(), "")
		if r.Header.Get("Idempotency-Key") != "" {
			w.WriteHeader(http.StatusEarlyHints)
		}
		if r.URL.Query().Has("stream") {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Query().Has("announced") {
			say(w.Header(), "")
			w.Header().Set("X-Sum", "1")
			return
		}
		say(w.Header(), http.TrailerPrefix)
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	for _, target := range []string{"/orders?announced", "/orders?unannounced", "/orders?announced&stream", "/orders?unannounced&stream"} {
		for name, key := range map[string]string{"guarded": "k" + target, "plain": ""} {
			t.Run(name+" "+target, func(t *testing.T) {
				check := func(h http.Header, where string) {
					if state := h.Get("POE-State"); h["Poe-Links"] != nil || strings.Contains(state, "burned") || where != "fields" && state != "" {
						t.Errorf("%s: POE-State %q, POE-Links %q", where, state, h["Poe-Links"])
					}
				}
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
					check(http.Header(h), "an interim answer")
					return nil
				}})
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.at.URL+target, strings.NewReader("a"))
				if err != nil {
					t.Fatal(err)
				}
				if key != "" {
					req.Header.Set("Idempotency-Key", key)
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if string(body) != "x" || err != nil || res.Trailer.Get("X-Sum") != "1" {
					t.Errorf("content %q, error %v, trailers %v", body, err, res.Trailer)
				}
				check(res.Header, "fields")
				check(res.Trailer, "trailers")
				if said := res.Header.Get("POE-State") != ""; said != (key != "") {
					t.Errorf("POE-State %q", res.Header.Get("POE-State"))
				}
			})
		}
	}
}
