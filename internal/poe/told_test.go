package core_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/webhook"
)

// hookSender may call the hooks, and nobody else.
func hookSender(t *testing.T, h *hook, clock func() time.Time, more ...*hook) *webhook.Sender {
	t.Helper()
	var allow []string
	for _, h := range append(more, h) {
		allow = append(allow, strings.TrimPrefix(h.URL, "http://"))
	}
	s, err := webhook.New(webhook.Config{Allow: allow, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A receiver that answers 101 and falls silent keeps neither the workers nor the end of the process.
func TestReceiverThatSwitchesAndTheEnd(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	held := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"))
			held <- c // it stays open
		}
	}()
	b := deferring(t, func(c *core.Config) {
		sender, err := webhook.New(webhook.Config{Allow: []string{l.Addr().String()}, Secrets: []string{hookSecret}, DangerouslyInsecure: true, Clock: c.Clock})
		if err != nil {
			t.Fatal(err)
		}
		c.Callbacks = sender
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "callback"}}}
	})
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: http://"+l.Addr().String())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.gate.Work(ctx)
	}()
	soon, done := context.WithTimeout(t.Context(), 10*time.Second)
	defer done()
	select {
	case c := <-held:
		defer func() { _ = c.Close() }()
	case <-soon.Done():
		t.Error("nobody is called")
	}
	b.gate.Drain()
	if err := b.gate.Wait(soon); err != nil {
		t.Error(err)
	}
	cancel()
	select {
	case <-ended:
	case <-soon.Done():
		t.Error("the workers do not end")
	}
}

// Callbacks that are owed when callbacks are taken out of the configuration come to a person's notice, as all do that nobody has heard.
func TestCallbacksThatAreConfiguredNoMore(t *testing.T) {
	h := newHook(t)
	b := calling(t, h)
	b.do("POST", b.mint("/orders"), "x", "Callback-URL: "+h.URL)
	next := newBench(t, func(c *core.Config) { c.Store, c.Keys, c.Clock = b.store, b.keys, b.clock })
	for range 5 * 24 {
		b.advance(time.Hour)
		next.work()
	}
	all, err := next.gate.UndeliveredCallbacks(t.Context())
	if err != nil || len(all) != 1 || all[0].Why != "not sent: the address may not be called" || h.got() != 0 {
		t.Errorf("after five days: %v, %v", all, err)
	}
}

// Who reserves with a Callback-URL is called back, or told that it is refused.
func TestReservationWithACallback(t *testing.T) {
	h := newHook(t)
	b := newBench(t, func(c *core.Config) {
		c.Callbacks = hookSender(t, h, c.Clock)
		c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "post-put", "callback"}}}
	})
	wantProblem(t, b.do("POST", "/orders", "", "Callback-URL: https://evil.example/"), 400, "callback-refused")
	res := b.do("POST", "/orders", "", "Callback-URL: "+h.URL)
	if res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	if res := b.do("PUT", res.Header.Get("Location"), "apples"); res.StatusCode != 201 {
		t.Fatal(res.StatusCode)
	}
	b.work()
	if h.got() != 1 {
		t.Errorf("told %d times", h.got())
	}
}

// A late answer that shows a released action to be done is told, as every end is, whatever names the action.
func TestLateEndIsTold(t *testing.T) {
	for name, keyed := range map[string]bool{"a POE URI": false, "a key": true} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t)
			b := calling(t, h)
			entered, leave := make(chan struct{}), make(chan struct{})
			b.app = func(w http.ResponseWriter, _ *http.Request) {
				close(entered)
				<-leave
				w.WriteHeader(http.StatusCreated)
			}
			var all sync.WaitGroup
			var id string
			all.Go(func() {
				target, fields := "/orders", []string{"Callback-URL: " + h.URL}
				if keyed {
					fields = append(fields, "Idempotency-Key: k")
				} else {
					target = b.mint(target)
				}
				id, _ = readState(t, b.do("POST", target, "x", fields...).Header)
			})
			<-entered
			b.advance(10 * time.Minute)
			b2 := callingAs(t, h, b, func(*core.Config) {})
			b2.work()
			if h.got() != 1 || h.events[0]["type"] != "poe.outcome.unknown" {
				t.Fatal(h.events)
			}
			data, _ := h.events[0]["data"].(map[string]any)
			b2.decide(decision(data["id"].(string), core.AsUnused))
			close(leave)
			all.Wait()
			b.wantState(id, store.Done)
			b2.work()
			if h.got() != 2 || h.events[1]["type"] != "poe.outcome.done" {
				t.Errorf("%v", h.events)
			}
		})
	}
}

// Under its key an action with a POE URI tells the one that was signed with it, and otherwise the one that the request asks for: never the one that an
// earlier request asked for, which was refused.
func TestCallbackOfTheRequestThatIsDone(t *testing.T) {
	for name, tc := range map[string]struct {
		signed, names bool // a callback is signed into the URI; the request that is done names one
	}{"named": {false, true}, "not named": {false, false}, "signed": {true, false}, "signed, and another named": {true, true}} {
		t.Run(name, func(t *testing.T) {
			signed, refused, named := newHook(t), newHook(t), newHook(t)
			b := newBench(t, func(c *core.Config) {
				c.Callbacks = hookSender(t, signed, c.Clock, refused, named)
				c.Routes = []core.Route{{Name: "default", Match: "POST *", Doors: []string{"poe", "key", "callback"}}}
			})
			ask := "/poe/new?for=/orders"
			if tc.signed {
				ask += "&callback=" + url.QueryEscape(signed.URL)
			}
			uri := strings.TrimSpace(text(t, b.do("GET", ask, "", "Accept: text/plain")))
			b.app = answering(422)
			b.do("POST", uri, "x", "Idempotency-Key: k", "Callback-URL: "+refused.URL)
			b.app = nil
			fields := []string{"Idempotency-Key: k"}
			if tc.names {
				fields = append(fields, "Callback-URL: "+named.URL)
			}
			if res := b.do("POST", "/orders", "x", fields...); res.StatusCode != 201 {
				t.Fatal(res.StatusCode, text(t, res))
			}
			b.work()
			count := func(b bool) int { return map[bool]int{true: 1}[b] }
			if signed.got() != count(tc.signed) || refused.got() != 0 || named.got() != count(tc.names && !tc.signed) {
				t.Errorf("the signed one was told %d times, the refused request's %d, the named one %d", signed.got(), refused.got(), named.got())
			}
		})
	}
}
