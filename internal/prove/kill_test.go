package prove_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// An attempt is an action as its client remembers it.
type attempt struct {
	uri, id string
	acked   string // the answer that the client got; "": none
}

// A crowd is the clients. They remember everything, as the judge does.
type crowd struct {
	mu      sync.Mutex
	client  *http.Client
	pending []*attempt // no definite answer yet
	all     []*attempt
	doubled []string // answers to a repeated POST that an acknowledged action must never get
}

// work mints and POSTs until the process is gone, and begins with what is pending.
func (c *crowd) work(ctx context.Context, base string) {
	for ctx.Err() == nil {
		a := c.next(ctx, base)
		if a == nil {
			return
		}
		if !c.post(ctx, base, a) {
			c.mu.Lock()
			c.pending = append(c.pending, a)
			c.mu.Unlock()
			return
		}
		if a.acked != "" && rand.IntN(8) == 0 && !c.again(ctx, base) {
			return
		}
	}
}

// again repeats the POST of some action that has been acknowledged, maybe by an earlier process.
func (c *crowd) again(ctx context.Context, base string) bool {
	c.mu.Lock()
	a := c.all[rand.IntN(len(c.all))]
	acked := a.acked != ""
	c.mu.Unlock()
	if !acked {
		return true
	}
	res, body, err := c.do(ctx, http.MethodPost, base+a.uri, "a body")
	if err != nil {
		return false
	}
	if res.StatusCode != http.StatusMethodNotAllowed {
		c.mu.Lock()
		c.doubled = append(c.doubled, fmt.Sprintf("%s: %s %s", a.id, res.Status, body))
		c.mu.Unlock()
	}
	return true
}

func (c *crowd) next(ctx context.Context, base string) *attempt {
	c.mu.Lock()
	if n := len(c.pending); n > 0 {
		a := c.pending[n-1]
		c.pending = c.pending[:n-1]
		c.mu.Unlock()
		return a
	}
	c.mu.Unlock()
	res, body, err := c.do(ctx, http.MethodGet, base+"/poe/new?for=/orders", "")
	if err != nil || res.StatusCode != http.StatusOK {
		return nil
	}
	_, rest, _ := strings.Cut(body, `"uri":"`)
	uri, rest, _ := strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	a := &attempt{uri: strings.ReplaceAll(uri, `\u0026`, "&"), id: id}
	c.mu.Lock()
	c.all = append(c.all, a)
	c.mu.Unlock()
	return a
}

// post sends one POST and tells whether the answer is definite, or another one will not help.
func (c *crowd) post(ctx context.Context, base string, a *attempt) bool {
	res, body, err := c.do(ctx, http.MethodPost, base+a.uri, "a body")
	if err != nil {
		return false
	}
	if res.StatusCode == http.StatusCreated {
		c.mu.Lock()
		a.acked = body
		c.mu.Unlock()
	}
	return res.StatusCode == http.StatusCreated || res.StatusCode == http.StatusMethodNotAllowed || strings.Contains(body, "outcome-unknown")
}

func (c *crowd) do(ctx context.Context, method, url, body string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	res, err := c.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	return res, string(got), err
}

// The real binary is killed under load at random moments, a hundred times over one ledger. No action is executed
// twice, every acknowledged outcome is still there, and every claim ends done, unused or unknown.
func TestKill(t *testing.T) {
	began, rounds, random, j := time.Now(), form{100, 25, 10}.size(), seeded(t), newJudge()
	app := httptest.NewServer(j)
	defer app.Close()
	c := &crowd{client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	args := []string{"serve", "--listen", "127.0.0.1:0", "--admin", "", "--upstream", app.URL, "--store", "pebble:" + t.TempDir() + "/ledger"}
	killed(t, args, rounds, random, func(ctx context.Context, base string) {
		var clients sync.WaitGroup
		for range 16 {
			clients.Go(func() { c.work(ctx, base) })
		}
		clients.Wait()
		c.client.CloseIdleConnections()
	})
	verify(t, c, j, start(t, args...).url, rounds)
	publish(t, began, figure{Proof: "kills at any moment", Sample: fmt.Sprintf("%d kills, %d actions", rounds, len(c.all)), Result: "0 executed twice, 0 acknowledged outcomes lost"})
}

// killed starts the binary again and again, and kills it at a random moment while busy, which ends with its context, keeps it busy.
func killed(t *testing.T, args []string, rounds int, random *rand.Rand, busy func(ctx context.Context, base string)) {
	t.Helper()
	for range rounds {
		p := start(t, args...)
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(10+random.IntN(190))*time.Millisecond, func() {
			p.kill()
			stop()
		})
		busy(ctx, p.url)
		<-ctx.Done()
	}
}

// verify holds what the ledger says against what the clients and the judge remember.
func verify(t *testing.T, c *crowd, j *judge, base string, rounds int) {
	t.Helper()
	for _, d := range c.doubled {
		t.Errorf("repeating an acknowledged POST: %s", d)
	}
	states := map[string]int{}
	acked := 0
	for _, a := range c.all {
		n := j.executions(a.id)
		if n > 1 {
			t.Errorf("%s was executed %d times", a.id, n)
		}
		res, body, err := c.do(t.Context(), http.MethodGet, base+a.uri, "")
		if err != nil {
			t.Fatal(err)
		}
		state, _, _ := strings.Cut(res.Header.Get("POE-State"), ";")
		states[state]++
		switch {
		case a.acked != "" && (state != "done" || body != a.acked):
			t.Errorf("%s was acknowledged with %q, and is %s: %q", a.id, a.acked, state, body)
		case state == "done" && n != 1, state == "unused" && n != 0:
			t.Errorf("%s is %s, but was executed %d times", a.id, state, n)
		case state != "done" && state != "unused" && state != "unknown":
			t.Errorf("%s is %q", a.id, state)
		}
		if a.acked != "" {
			acked++
		}
	}
	t.Logf("%d kills, %d actions, %d acknowledged, ended %v", rounds, len(c.all), acked, states)
	if len(c.all) < 20*rounds || states["unknown"] == 0 {
		t.Errorf("too little was going on to prove anything")
	}
}
