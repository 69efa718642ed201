package core_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// Docs/reliability.md, 3: what was accepted is void only where a person says so, the application has not taken it though it was tried, recovery finds that it was
// not done, or it has had no route for a day. A temporary folder that is full for a day is none of these.
func TestAcceptedOutlivesAFullSpool(t *testing.T) {
	b := deferring(t, nil)
	i := b.issue("/orders")
	monitor(t, b.do("POST", i.URI, "apples", later))
	full := newBench(t, func(c *core.Config) {
		c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys
		var err error
		if c.Spool, err = replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir(), Memory: 1, Disk: 1}); err != nil {
			t.Fatal(err)
		}
	})
	full.of = b
	full.deferred()
	full.pass(25*time.Hour, 10*time.Minute)
	if r := b.lookup(i.ID); r.State != store.Queued {
		t.Errorf("it is %s, and nothing of it was ever sent: %v", r.State, r.History[len(r.History)-1])
	}
	next := newBench(t, func(c *core.Config) { c.Store, c.Clock, c.Keys = b.store, b.clock, b.keys })
	next.of = b
	next.deferred()
	next.pass(10*time.Minute, time.Minute)
	if r := b.lookup(i.ID); r.State != store.Done || next.executed.Load() != 1 {
		t.Errorf("the folder has room again: it is %s, executed %d times", r.State, next.executed.Load())
	}
}

// gz packs a text.
func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// Docs/protocol.md: coded bodies are compared by what they are, without codings. The very request that was executed packed is told, unpacked, that another one was.
func TestPackedThenPlain(t *testing.T) {
	order := strings.Repeat("item=Teapot&quantity=1&", 20)
	const form = "Content-Type: application/x-www-form-urlencoded"
	for name, bodies := range map[string][2]string{"packed, then plain": {gz(order), order}, "plain, then packed": {order, gz(order)}} {
		b := newBench(t, nil)
		uri := b.mint("/orders")
		send := func(body string) *http.Response {
			if body != order {
				return b.do("POST", uri, body, form, "Content-Encoding: gzip")
			}
			return b.do("POST", uri, body, form)
		}
		if res := send(bodies[0]); res.StatusCode != 201 {
			t.Fatal(res.StatusCode)
		}
		var p map[string]any
		_ = json.Unmarshal([]byte(text(t, send(bodies[1]))), &p)
		if p["request_matches"] == false {
			t.Errorf("%s: the same order is told request_matches %v: %v", name, p["request_matches"], p["detail"])
		}
	}
}

// A route that says what to compare executes what comes with a POE URI and in another type, as it did, and as it does with what is not multipart.
func TestComparedPOEURI(t *testing.T) {
	for name, as := range map[string]struct {
		body   string
		fields []string
	}{
		"plain":     {"x", []string{"Content-Type: text/plain"}},
		"multipart": {"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n", []string{"Content-Type: multipart/form-data; boundary=b"}},
		"packed":    {gz(`{"note":"x"}`), []string{"Content-Type: application/json", "Content-Encoding: gzip"}},
	} {
		b := newBench(t, func(c *core.Config) {
			c.Routes = []core.Route{{Name: "orders", Match: "POST /orders", Doors: []string{"poe", "key"}, Compare: []string{"json:/id"}}}
		})
		if res := b.do("POST", b.mint("/orders"), as.body, as.fields...); res.StatusCode != 201 {
			t.Errorf("%s: %d %s", name, res.StatusCode, text(t, res))
		}
	}
}
