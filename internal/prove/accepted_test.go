package prove_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A promise is an action that the server has answered 202 for, as its client remembers it.
type promise struct{ id, outcome string }

// An audience is clients that ask for asynchronous execution under keys, and repeat what was not answered.
type audience struct {
	mu       sync.Mutex
	client   *http.Client
	next     int
	pending  []string           // keys without an answer
	promised map[string]promise // by key
	broken   []string           // what must not happen
}

// ask sends requests until the process is gone.
func (a *audience) ask(ctx context.Context, base string) {
	for ctx.Err() == nil {
		key := a.key()
		res, err := a.send(ctx, base, http.MethodPost, "/orders", key)
		if err != nil {
			a.mu.Lock()
			a.pending = append(a.pending, key)
			a.mu.Unlock()
			return
		}
		a.heard(key, res)
	}
}

// key is one that is pending, or asked for before, or new.
func (a *audience) key() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.pending); n > 0 {
		key := a.pending[n-1]
		a.pending = a.pending[:n-1]
		return key
	}
	if a.next > 0 && rand.IntN(8) == 0 {
		return fmt.Sprintf("key-%d", rand.IntN(a.next)+1)
	}
	a.next++
	return fmt.Sprintf("key-%d", a.next)
}

func (a *audience) send(ctx context.Context, base, method, target, key string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, base+target, strings.NewReader(bodyOf(key)))
	if err != nil {
		return nil, err
	}
	r.Host = "api.example.com" // keys belong to a host, and every process has another port
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
		r.Header.Set("Prefer", "respond-async")
	}
	res, err := a.client.Do(r)
	if err == nil {
		err = res.Body.Close()
	}
	return res, err
}

// bodyOf is the body that is sent under a key: one in five lies beside the ledger until it is executed.
func bodyOf(key string) string {
	if strings.HasSuffix(key, "3") || strings.HasSuffix(key, "8") {
		return strings.Repeat("a body ", 10_000)
	}
	return "a body"
}

// heard notes a promise. A key that has one leads to the same action ever after.
func (a *audience) heard(key string, res *http.Response) {
	_, rest, _ := strings.Cut(res.Header.Get("POE-State"), `id="`)
	id, _, _ := strings.Cut(rest, `"`)
	a.mu.Lock()
	defer a.mu.Unlock()
	was, known := a.promised[key]
	switch {
	case known && was.id != id:
		a.broken = append(a.broken, fmt.Sprintf("%s was %s, and is %s: %s", key, was.id, id, res.Status))
	case !known && res.StatusCode == http.StatusAccepted && id != "":
		a.promised[key] = promise{id: id, outcome: res.Header.Get("Location")}
	}
}

// The real binary is killed while it accepts and works off a queue. Nothing that it has promised is lost, and nothing is executed twice: what was
// accepted and not sent is executed by a later process, and what was sent and not answered is unknown.
func TestKillWhatIsAccepted(t *testing.T) {
	began, rounds, random, j := time.Now(), form{60, 15, 8}.size(), seeded(t), newJudge()
	app := httptest.NewServer(j)
	defer app.Close()
	a := &audience{
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, promised: map[string]promise{},
	}
	args := []string{"serve", "--listen", "127.0.0.1:0", "--admin", "", "--upstream", app.URL, "--workers", "4", "--store", "pebble:" + t.TempDir() + "/ledger"}
	killed(t, args, rounds, random, func(ctx context.Context, base string) {
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() { a.ask(ctx, base) })
		}
		clients.Wait()
		a.client.CloseIdleConnections()
	})
	a.verify(t, j, start(t, args...).url)
	publish(t, began, figure{Proof: "kills while a queue is worked off", Sample: fmt.Sprintf("%d kills, %d accepted actions", rounds, len(a.promised)), Result: "0 executed twice, 0 promises lost"})
}

// verify waits until every promise is kept, and counts.
func (a *audience) verify(t *testing.T, j *judge, base string) {
	t.Helper()
	for _, b := range a.broken {
		t.Error(b)
	}
	states := map[string]int{}
	deadline := time.Now().Add(2 * time.Minute)
	for key, p := range a.promised {
		state := ""
		for state == "" || state == "accepted" || state == "sent" || state == "running" {
			res, err := a.send(t.Context(), base, http.MethodGet, p.outcome, "")
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s is %q: %v", key, state, err)
			}
			state, _, _ = strings.Cut(res.Header.Get("POE-State"), ";")
		}
		states[state]++
		n := j.executions(p.id)
		if n > 1 || state == "done" && n != 1 || state != "done" && state != "unknown" {
			t.Errorf("%s is %s, and was executed %d times", p.id, state, n)
		}
	}
	t.Logf("%d promises, ended %v", len(a.promised), states)
	if states["done"] < 100 || states["unknown"] == 0 {
		t.Error("too little was going on to prove anything")
	}
}
