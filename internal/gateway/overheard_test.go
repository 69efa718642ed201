package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What an answer that passes through names in Connection is of that connection only, also beside "close", with which net/http takes the names away.
func TestProxyFieldsOfAClosingConnection(t *testing.T) {
	const interim = "HTTP/1.1 103 Early Hints\r\nConnection: X-Early\r\n\r\n"
	const rest = "X-Hop: secret\r\nX-Own: 1\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
	long := "X-Long: " + strings.Repeat("x", 20<<10) + "\r\n"
	for name, say := range map[string]string{
		"in one line":       "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\n" + rest + "\r\nok",
		"in two":            "HTTP/1.1 200 OK\r\nconnection: x-hop\r\nConnection: Close\r\n" + rest + "\r\nok",
		"after interim":     interim + "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\n" + rest + "\r\nok",
		"in a long head":    "HTTP/1.1 200 OK\r\n" + long + rest + "Connection: close, X-Hop\r\n\r\nok",
		"it stays open":     "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\n" + rest + "\r\nok",
		"ends with an end":  "HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\n" + strings.Replace(rest, "Content-Length: 2\r\n", "", 1) + "\r\nok",
		"that is not there": "HTTP/1.1 200 OK\r\nConnection: close, X-Other\r\n" + strings.Replace(rest, "X-Hop: secret\r\n", "", 1) + "\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			server, client := certificate(t)
			first := "HTTP/1.1 200 OK\r\nX-Hop: of another answer\r\nContent-Length: 5\r\n\r\nfirst"
			play := func(p *peer, _ int) {
				for _, answer := range []string{first, say} { // on one connection
					if p.request() == nil {
						return
					}
					p.say(answer)
				}
			}
			for kind, g := range map[string]string{
				"plain":    front(t, newGateway(t, listen(t, play).address)),
				"over TLS": front(t, newGateway(t, listen(t, overTLS(server, play)).address, https(client))),
			} {
				var resp *http.Response
				for range 2 {
					r := raw(t, g, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
					for resp = answer(t, r); resp.StatusCode < 200; resp = answer(t, r) {
					}
					if got := resp.Header.Get("X-Hop"); got != "" && got != "of another answer" {
						t.Errorf("%s: X-Hop: %s", kind, got)
					}
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				want := http.Header{"X-Own": {"1"}, "Date": {"Sat, 01 Jan 2000 00:00:00 GMT"}, "Content-Type": {"text/plain"}}
				for _, own := range []string{"X-Long", "Content-Length", "Connection"} {
					resp.Header.Del(own)
				}
				if diff := cmp.Diff(want, resp.Header); diff != "" || string(body) != "ok" {
					t.Errorf("%s: %q, fields (-want +got):\n%s", kind, body, diff)
				}
			}
		})
	}
}
