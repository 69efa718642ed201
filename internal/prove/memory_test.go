package prove_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
)

const (
	hundred = 100 << 20
	allowed = 32 << 20
)

// pattern is an endless body that differs everywhere.
type pattern struct{ n uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.n * 2654435761 >> 13)
		p.n++
	}
	return len(b), nil
}

func sumOf(t *testing.T, r io.Reader) [32]byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// peak returns the most memory that the process had resident so far, in bytes.
func (p *process) peak(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// A hundred MiB through the gateway, either way, guarded or not, costs no more than 32 MiB of extra memory.
func TestMemoryOfLargeBodies(t *testing.T) {
	want := sumOf(t, io.LimitReader(&pattern{}, hundred))
	var got [32]byte
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if n, _ := io.Copy(h, r.Body); n == hundred {
			got = [32]byte(h.Sum(nil))
		}
		switch r.URL.Path {
		case "/down":
			_, _ = io.Copy(w, io.LimitReader(&pattern{}, hundred))
		case "/orders":
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer app.Close()
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--admin", "", "--upstream", app.URL,
		"--store", "pebble:"+t.TempDir()+"/ledger", "--max-body", "128MiB", "--upstream-timeout", "2m")
	c := &crowd{client: http.DefaultClient}
	for range 50 { // what it needs to work at all
		if a := c.next(t.Context(), p.url); a == nil || !c.post(t.Context(), p.url, a) {
			t.Fatal("it does not work")
		}
	}
	before := p.peak(t)
	send := func(method, target string, body io.Reader, size int64) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, p.url+target, body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = size
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	mint := func(target string) string {
		t.Helper()
		res, uri, err := c.do(t.Context(), http.MethodGet, p.url+"/poe/new?for="+target, "")
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		_, rest, _ := strings.Cut(uri, `"uri":"`)
		uri, _, _ = strings.Cut(rest, `"`)
		return uri
	}
	for _, target := range []string{mint("/up"), "/up"} {
		got = [32]byte{}
		if res := send("POST", target, io.LimitReader(&pattern{}, hundred), hundred); res.StatusCode != 200 || got != want {
			t.Errorf("up to %.8s: %d, %x", target, res.StatusCode, got)
		}
	}
	guarded := mint("/down")
	for _, target := range []string{guarded, "/down"} {
		if res := send("POST", target, bytes.NewReader(nil), 0); res.StatusCode != 200 || sumOf(t, res.Body) != want {
			t.Errorf("down from %.8s: %d", target, res.StatusCode)
		}
	}
	if res := send("POST", guarded, bytes.NewReader(nil), 0); res.StatusCode != 405 {
		t.Errorf("the guarded one was not used up: %d", res.StatusCode)
	}
	if res := send("GET", guarded, nil, 0); res.StatusCode != 410 || !strings.Contains(res.Header.Get("POE-State"), "done") {
		t.Errorf("above max_response: %d %s", res.StatusCode, res.Header.Get("POE-State"))
	}
	extra := p.peak(t) - before
	t.Logf("%d MiB before, %d MiB extra", before>>20, extra>>20)
	if extra > allowed {
		t.Errorf("four hundred MiB cost %d MiB of extra memory", extra>>20)
	}
}
