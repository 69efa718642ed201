package webhook_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/webhook"
)

// secret is one of 32 bytes, all alike.
func secret(b byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
}

func newSender(t *testing.T, change func(*webhook.Config)) *webhook.Sender {
	t.Helper()
	cfg := webhook.Config{Allow: []string{"hooks.example.com", "*.example.net", "ports.example.com:8443"}, Secrets: []string{secret('a')}}
	if change != nil {
		change(&cfg)
	}
	s, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// receiver is a server, and a sender that may call nothing but it.
func receiver(t *testing.T, h http.HandlerFunc, secrets ...string) (string, *webhook.Sender) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL, newSender(t, func(c *webhook.Config) {
		c.Allow, c.DangerouslyInsecure, c.Timeout = []string{strings.TrimPrefix(s.URL, "http://")}, true, 2*time.Second
		if len(secrets) > 0 {
			c.Secrets = secrets
		}
	})
}

func TestCheck(t *testing.T) {
	s := newSender(t, nil)
	for _, good := range []string{
		"https://hooks.example.com", "https://hooks.example.com/", "https://HOOKS.example.com/a?b=c", "https://hooks.example.com:443/x",
		"https://a.example.net/", "https://a.b.example.net/", "https://ports.example.com:8443/",
		"https://a-b_09z.example.net/",
	} {
		if err := s.Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "/", "//hooks.example.com/", "hooks.example.com", "https:", "https://", "https:hooks.example.com", "http://hooks.example.com/", "ftp://hooks.example.com/",
		"file:///etc/passwd", "gopher://hooks.example.com/", "javascript:alert(1)", "https://user@hooks.example.com/", "https://user:pass@hooks.example.com/",
		"https://hooks.example.com/#x", "https://hooks.example.com#", "https://hooks.example.com:8443/", "https://hooks.example.com:0/", "https://hooks.example.com:99999/",
		"https://hooks.example.com:/", "https://hooks.example.com:abc/", "https://example.net/", "https://evilexample.net/", "https://a.example.net.evil.com/",
		"https://hooks.example.com.evil.com/", "https://hooks.example.com@evil.com/", "https://evil.com\\@hooks.example.com/", "https://evil.com/https://hooks.example.com/",
		"https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest/meta-data/", "https://2130706433/", "https://0x7f000001/", "https://localhost/",
		"https://hooks.example.com./", "https://-a.example.net/", "https://a..example.net/", "https://höoks.example.net/", "https://a%2eexample.net/",
		"https://hooks.example.com/a b", "https://hooks.example.com/\r\nX: y", "https://hooks.example.com/\x00", "https://hooks.example.com/" + strings.Repeat("a", 2048),
		"https://ports.example.com/", " https://hooks.example.com/", "https://[fe80::1%25eth0]/",
		"https://hooks.example.com/ä", "https://hooks.example.com/a\\b", "ftp://ports.example.com:8443/", "https://a-.example.net/", "https://a!b.example.net/", "https://a;b.example.net/",
		"https://a~b.example.net/", "https://" + strings.Repeat("a", 64) + ".example.net/", "https://" + strings.Repeat("a.", 122) + "example.net/",
	} {
		if err := s.Check(bad); !errors.Is(err, webhook.ErrRefused) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A host that is listed, and called at a port that is not, is not told to be missing.
func TestCheckTellsThePort(t *testing.T) {
	for address, want := range map[string]string{
		"https://hooks.example.com:8443/": "port 8443 of the host is not on the list",
		"https://ports.example.com/":      "port 443 of the host is not on the list",
	} {
		if err := newSender(t, nil).Check(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

// No connection is made to the own network, whatever name leads there: the address that is dialled decides.
func TestDialledAddress(t *testing.T) {
	for _, address := range []string{
		"127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.169.254", "198.18.0.1",
		"192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
		"64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1",
	} {
		if err := webhook.Dialled(newSender(t, nil), address); !errors.Is(err, webhook.ErrRefused) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"93.184.216.34", "1.1.1.1", "2606:4700:4700::1111"} {
		if err := webhook.Dialled(newSender(t, nil), address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A name on the list that leads to this machine is not called.
func TestNameOfTheOwnNetwork(t *testing.T) {
	var hits atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer s.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "https://"), ":")
	for _, name := range []string{"localhost", "127.0.0.1"} {
		sender := newSender(t, func(c *webhook.Config) { c.Allow = []string{name + ":" + port} })
		_, err := sender.Send(t.Context(), webhook.Message{ID: "m1", URL: "https://" + name + ":" + port + "/", Content: []byte("{}")})
		if !errors.Is(err, webhook.ErrRefused) || strings.Contains(err.Error(), port) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("called %d times", hits.Load())
	}
}

// What is sent is verified by the published library, with either of two secrets while one is replaced.
func TestSigned(t *testing.T) {
	var ids, stamps []string
	accept := secret('b')
	url, s := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		wh, err := standardwebhooks.NewWebhook(accept)
		if err == nil {
			err = wh.Verify(body, r.Header)
		}
		if err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" || string(body) != `{"a":1}` {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		if tampered := wh.Verify([]byte(`{"a":2}`), r.Header); tampered == nil {
			t.Error("another body is accepted")
		}
		ids, stamps = append(ids, r.Header.Get("webhook-id")), append(stamps, r.Header.Get("webhook-timestamp"))
		w.WriteHeader(http.StatusNoContent)
	}, secret('b'), secret('c'))
	for _, accept = range []string{secret('b'), secret('c')} {
		res, err := s.Send(t.Context(), webhook.Message{ID: "m1", URL: url, Content: []byte(`{"a":1}`)})
		if err != nil || !res.Delivered() {
			t.Errorf("%v, %v", res, err)
		}
	}
	if len(ids) != 2 || ids[0] != "m1" || ids[1] != "m1" || stamps[0] == "" {
		t.Errorf("ids %v, times %v", ids, stamps)
	}
}

func TestTimestampIsFresh(t *testing.T) {
	var stamps []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stamps = append(stamps, r.Header.Get("webhook-timestamp"))
	}))
	defer srv.Close()
	now := time.Unix(1_750_000_000, 0)
	s := newSender(t, func(c *webhook.Config) {
		c.Allow, c.DangerouslyInsecure, c.Clock = []string{strings.TrimPrefix(srv.URL, "http://")}, true, func() time.Time { return now }
	})
	for range 2 {
		if _, err := s.Send(t.Context(), webhook.Message{ID: "m", URL: srv.URL}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	if len(stamps) != 2 || stamps[0] != "1750000000" || stamps[1] != "1750000060" {
		t.Errorf("%v", stamps)
	}
}

// A redirect is an answer, and not a way to somewhere else; a proxy is not asked.
func TestGoesNowhereElse(t *testing.T) {
	var hits atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer other.Close()
	t.Setenv("HTTP_PROXY", other.URL)
	t.Setenv("http_proxy", other.URL)
	for _, status := range []int{301, 302, 303, 307, 308} {
		url, s := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
		})
		res, err := s.Send(t.Context(), webhook.Message{ID: "m", URL: url})
		if err != nil || res.Status != status || res.Delivered() || res.Ended() {
			t.Errorf("%d: %v, %v", status, res, err)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests went elsewhere", hits.Load())
	}
}

// An answer without end is not read to its end, and one that does not come is not waited for.
func TestBounded(t *testing.T) {
	var written atomic.Int64
	url, s := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 32<<10))
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	})
	if res, err := s.Send(t.Context(), webhook.Message{ID: "m", URL: url}); err != nil || !res.Delivered() {
		t.Errorf("%v, %v", res, err)
	}
	if n := written.Load(); n > 16<<20 {
		t.Errorf("%d bytes were taken", n)
	}
	leave := make(chan struct{})
	url, s = receiver(t, func(http.ResponseWriter, *http.Request) { <-leave })
	if _, err := s.Send(t.Context(), webhook.Message{ID: "m", URL: url + "/secret"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	close(leave)
	if _, err := s.Send(t.Context(), webhook.Message{ID: "m", URL: url, Content: make([]byte, webhook.MaxContent+1)}); !errors.Is(err, webhook.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Unix(1_750_000_000, 0).UTC()
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "-1": 0, "1.5": 0, "soon": 0, "999999999": 24 * time.Hour, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0, now.Add(99 * time.Hour).Format(http.TimeFormat): 24 * time.Hour,
	} {
		if got := webhook.RetryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	url, s := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if res, err := s.Send(context.Background(), webhook.Message{ID: "m", URL: url}); err != nil || res.RetryAfter != 7*time.Second || res.Status != 503 {
		t.Errorf("%v, %v", res, err)
	}
}

// What a receiver has, and what it wants no more of, is what it says itself.
func TestResult(t *testing.T) {
	for status, want := range map[int][2]bool{
		101: {}, 199: {}, 200: {true, false}, 204: {true, false}, 299: {true, false}, 300: {}, 304: {}, 404: {}, 410: {false, true}, 500: {},
	} {
		if r := (webhook.Result{Status: status}); r.Delivered() != want[0] || r.Ended() != want[1] {
			t.Errorf("%d: delivered %v, ended %v", status, r.Delivered(), r.Ended())
		}
	}
}

func TestWait(t *testing.T) {
	want := []time.Duration{
		0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
	for failed, w := range want {
		if got, more := webhook.Wait(failed, 0); got != w || !more {
			t.Errorf("after %d: %s, %v", failed, got, more)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		failed, jitter := rapid.IntRange(-2, 12).Draw(rt, "failed"), rapid.Float64Range(0, 1).Draw(rt, "jitter")
		got, more := webhook.Wait(failed, jitter)
		if more != (failed >= 0 && failed < webhook.Tries) || more && (got < want[failed] || got > want[failed]*11/10) {
			rt.Fatalf("%s, %v", got, more)
		}
	})
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*webhook.Config){
		"no secret": func(c *webhook.Config) { c.Secrets = nil },
		"no prefix": func(c *webhook.Config) { c.Secrets = []string{strings.TrimPrefix(secret('z'), "whsec_")} },
		"short": func(c *webhook.Config) {
			c.Secrets = []string{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23))}
		},
		"long": func(c *webhook.Config) {
			c.Secrets = []string{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))}
		},
		"not base64":               func(c *webhook.Config) { c.Secrets = []string{"whsec_enp6!"} },
		"more than base64":         func(c *webhook.Config) { c.Secrets = []string{secret('z') + "!"} },
		"everything":               func(c *webhook.Config) { c.Allow = []string{"*"} },
		"a star inside":            func(c *webhook.Config) { c.Allow = []string{"a.*.com"} },
		"a star and a name":        func(c *webhook.Config) { c.Allow = []string{"*example.com"} },
		"a URL":                    func(c *webhook.Config) { c.Allow = []string{"https://example.com"} },
		"a path":                   func(c *webhook.Config) { c.Allow = []string{"example.com/x"} },
		"nothing":                  func(c *webhook.Config) { c.Allow = []string{""} },
		"a star before an address": func(c *webhook.Config) { c.Allow = []string{"*.127.0.0.1"} },
		"a star and an address":    func(c *webhook.Config) { c.Allow = []string{"*127.0.0.1"} },
		"a dot before an address":  func(c *webhook.Config) { c.Allow = []string{".127.0.0.1"} },
	} {
		cfg := webhook.Config{Allow: []string{"example.com"}, Secrets: []string{secret('z')}}
		change(&cfg)
		_, err := webhook.New(cfg)
		if err == nil || strings.Contains(err.Error(), "enp6") || strings.Contains(err.Error(), "is a secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
