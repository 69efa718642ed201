package serve_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/postonce/poe/internal/serve"
)

// h2post is h2send for a POST.
func h2post(t *testing.T, host, path, authority, body string, fields ...string) (string, string) {
	t.Helper()
	return h2send(t, host, http.MethodPost, path, authority, body, fields...)
}

// h2send sends one request over HTTP/2 as it is and returns status and content.
func h2send(t *testing.T, host, method, path, authority, body string, fields ...string) (string, string) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, kv := range append([]string{":method: " + method, ":scheme: http", ":authority: " + authority, ":path: " + path}, fields...) {
		i := strings.Index(kv[1:], ": ") + 1
		_ = enc.WriteField(hpack.HeaderField{Name: kv[:i], Value: kv[i+2:]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	_ = f.WriteData(1, true, []byte(body))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	status, content := "", ""
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return status, content + " " + err.Error()
		}
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			status = fr.PseudoValue("status")
			if fr.StreamEnded() {
				return status, content
			}
		case *http2.DataFrame:
			content += string(fr.Data())
			if fr.StreamEnded() {
				return status, content
			}
		case *http2.RSTStreamFrame:
			return "reset", fr.ErrCode.String()
		case *http2.GoAwayFrame:
			return "goaway", fr.ErrCode.String()
		}
	}
}

// What can never be sent on is refused, and not told to be repeated for ever, each time with a claim.
func TestH2Targets(t *testing.T) {
	var n atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n.Add(1)
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, r.RequestURI)
	}))
	defer app.Close()
	s := run(t, config(t, app.URL))
	host := strings.TrimPrefix(s.at.URL, "http://")
	for i, path := range []string{"http:foo:/orders", "/orders x", "/orders\tx", "/orders\x80", "/orders%", "*", "http://b/orders", "orders", "//orders"} {
		status, content := h2post(t, host, path, "a", "x", fmt.Sprintf("idempotency-key: k%d", i))
		t.Logf("%q: %s %s", path, status, content)
		if strings.Contains(content, `"retry":"same"`) {
			t.Errorf("%q: is told to repeat for ever what can never be sent", path)
		}
	}
	for i, authority := range []string{"a b", "a/b", "u@a", "", "a:x", "a%20b", "\x80"} {
		status, content := h2post(t, host, "/orders", authority, "x", fmt.Sprintf("idempotency-key: h%d", i))
		t.Logf("authority %q: %s %s", authority, status, content)
		if strings.Contains(content, `"retry":"same"`) {
			t.Errorf("authority %q: is told to repeat for ever what can never be sent", authority)
		}
	}
}

// RFC 9113, section 8.2.1: a field value must not begin or end with a blank; net/http lets such a request of HTTP/2 through, while over HTTP/1.1 blanks there are
// no part of the value (RFC 9110, section 5.5). So the gate reads "7 " where the application, behind HTTP/1.1, reads "7": a business key that is taken is not seen.
func TestBlankInField(t *testing.T) {
	var mu sync.Mutex
	var made []string
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		made = append(made, r.Header.Get("X-Order"))
		mu.Unlock()
		w.WriteHeader(http.StatusCreated)
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.Routes = []serve.Route{{Name: "orders", Match: "POST /orders", Unique: []string{"header:X-Order"}}}
	s := run(t, cfg)
	host := strings.TrimPrefix(s.at.URL, "http://")
	for _, value := range []string{"7", "7 ", " 7", "\t7"} {
		status, content := h2post(t, host, "/orders", "a", "x", "x-order: "+value)
		t.Logf("%q: %s %s", value, status, content)
	}
	if len(made) != 1 {
		t.Errorf("the application has made %q", made)
	}
}

// A few hundred connections whose heads were of thousands of fields, over HTTP/2 a dozen, could take more memory than the process is to have. Its body is not
// waited for.
func TestTooManyFields(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer app.Close()
	host := strings.TrimPrefix(run(t, config(t, app.URL)).at.URL, "http://")
	for many, want := range map[int]string{200: "200", 300: "431"} {
		var fields []string
		for i := range many {
			fields = append(fields, fmt.Sprintf("x%d: 1", i))
		}
		if status, said := h2post(t, host, "/orders", "a", "apples", fields...); status != want {
			t.Errorf("%d fields over HTTP/2: %s %s", many, status, said)
		}
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		body := "x"
		if want != "200" {
			body = "" // which never comes
		}
		_, _ = fmt.Fprintf(c, "POST /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n%s\r\n\r\n%s", strings.Join(fields, "\r\n"), body)
		if all, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 "+want) {
			t.Errorf("%d fields: %q %v", many, all, err)
		}
	}
}

// What net/http lets through over HTTP/2 and nobody may send on is refused: the body would be missing, or the application be blamed.
func TestMalformedOverHTTP2(t *testing.T) {
	var reached atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer app.Close()
	host := strings.TrimPrefix(run(t, config(t, app.URL)).at.URL, "http://")
	for _, fields := range [][]string{
		{"content-length: +1"}, {"content-length: "}, {"content-length: 1x"}, {"content-length: 1, 1"}, {"content-length: 1", "content-length: 2"},
	} {
		if status, said := h2post(t, host, "/orders", "a", "x", fields...); status != "400" && !strings.Contains(status+said, "PROTOCOL_ERROR") { // by net/http, where the body comes first
			t.Errorf("%q: %s %s", fields, status, said)
		}
	}
	if status, said := h2send(t, host, "POST /orders", "/orders", "a", "x"); status != "400" {
		t.Errorf("a method of two words: %s %s", status, said)
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("%d reached the application", n)
	}
	if status, said := h2post(t, host, "/orders", "a", "x", "content-length: 1"); status != "200" || reached.Load() != 1 {
		t.Errorf("a good one: %s %s", status, said)
	}
}
