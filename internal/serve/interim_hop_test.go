package serve_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The fields of the connection to the application are not the client's (RFC 9110, section 7.6.1), in interim answers neither: over HTTP/2 they make the whole answer
// malformed (RFC 9113, section 8.2.2), and the client sees nothing of it.
func TestInterimWithoutFieldsOfTheConnection(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h := w.Header()
		h.Set("Connection", "keep-alive, X-Internal")
		h.Set("Keep-Alive", "timeout=5")
		h.Set("X-Internal", "1")
		h.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		clear(h)
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	for name, protocols := range map[string]func(*http.Protocols){
		"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
		"HTTP/2":   func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		client := &http.Transport{Protocols: new(http.Protocols)}
		protocols(client.Protocols)
		defer client.CloseIdleConnections()
		for kind, key := range map[string]string{"passed through": "", "guarded": "k"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				var hints textproto.MIMEHeader
				ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
					hints = h
					return nil
				}})
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.at.URL+"/orders", strings.NewReader("x"))
				if err != nil {
					t.Fatal(err)
				}
				if key != "" {
					r.Header.Set("Idempotency-Key", key+name)
				}
				res, err := client.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				for _, ours := range []string{"Content-Length", "Cache-Control", "Referrer-Policy"} {
					hints.Del(ours)
				}
				if diff := cmp.Diff(textproto.MIMEHeader{"Link": {"</style.css>; rel=preload"}}, hints); diff != "" || res.StatusCode != http.StatusCreated {
					t.Errorf("%d, fields of 103 (-want +got):\n%s", res.StatusCode, diff)
				}
			})
		}
	}
}
