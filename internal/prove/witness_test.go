package prove_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A deed is something that a client wants to have done once, as the client remembers it.
type deed struct {
	want    string // what the judge counts it by
	door    string // poe, key, or async: a key, and the wish to be answered at once
	target  string // where the POST goes
	padding int    // of the body
	told    bool   // wants to be called back

	heard   bool   // there was an answer
	id      string // as far as it is known
	acked   string // the answer that the client has got; "": none
	open    bool   // nobody knew whether it was executed, when somebody looked
	outcome string // where the outcome of what was accepted will be; "": nothing was accepted
}

// A witness is all clients of one ledger. They remember everything, across processes.
type witness struct {
	name   string // makes what its clients want, and their keys, differ from all others'
	client *http.Client
	hook   string // address to be called back; "": nobody is
	doors  []string
	once   bool        // nothing is repeated
	dark   atomic.Bool // the power is off: a process that has not ended yet may say that it cannot read

	mu       sync.Mutex
	pending  []*deed // no definite answer yet
	all      []*deed
	answered []*deed  // at least once, in whatever way
	broken   []string // what must not happen
}

func newWitness(name, hook string, doors ...string) *witness {
	return &witness{name: name, hook: hook, doors: doors, client: &http.Client{
		Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
}

// complain notes what must not happen.
func (w *witness) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// busy has clients work until the process is gone.
func (w *witness) busy(ctx context.Context, base string, clients int) {
	var all sync.WaitGroup
	for range clients {
		all.Go(func() { w.work(ctx, base) })
	}
	all.Wait()
	w.client.CloseIdleConnections()
}

// work has deeds done, those that are pending first, and now and then one again that may have been done long ago.
func (w *witness) work(ctx context.Context, base string) {
	for ctx.Err() == nil {
		d := w.next()
		if d.door == "poe" && d.id == "" && !w.mint(ctx, base, d) {
			return // it is as if it had never been
		}
		if w.post(ctx, base, d) == nil {
			continue
		}
		if !w.once {
			w.mu.Lock()
			w.pending = append(w.pending, d)
			w.mu.Unlock()
		}
		return
	}
}

func (w *witness) next() *deed {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.pending); n > 0 {
		d := w.pending[n-1]
		w.pending = w.pending[:n-1]
		return d
	}
	if len(w.answered) > 0 && !w.once && rand.IntN(6) == 0 {
		return w.answered[rand.IntN(len(w.answered))]
	}
	d := &deed{
		want: fmt.Sprintf("%s-%d", w.name, len(w.all)), door: w.doors[rand.IntN(len(w.doors))], target: "/orders",
		told: w.hook != "" && rand.IntN(3) == 0,
	}
	if rand.IntN(4) == 0 {
		d.target = "/orders?large"
	}
	if rand.IntN(4) == 0 {
		d.padding = 70_000
	}
	w.all = append(w.all, d)
	return d
}

func (w *witness) mint(ctx context.Context, base string, d *deed) bool {
	res, body, err := w.do(ctx, http.MethodGet, base+"/poe/new?for="+strings.ReplaceAll(d.target, "?", "%3F"), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		return false
	}
	_, rest, _ := strings.Cut(body, `"uri":"`)
	uri, rest, _ := strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, `"id":"`)
	w.mu.Lock()
	defer w.mu.Unlock()
	d.target = strings.ReplaceAll(uri, `\u0026`, "&")
	d.id, _, _ = strings.Cut(rest, `"`)
	return true
}

// post sends the request of a deed and holds the answer against what is known of it. Its error is the client's.
func (w *witness) post(ctx context.Context, base string, d *deed) error {
	res, body, err := w.do(ctx, http.MethodPost, base+d.target, d)
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusServiceUnavailable && w.dark.Load() {
		return errDark
	}
	_, rest, _ := strings.Cut(res.Header.Get("POE-State"), `id="`)
	id, _, _ := strings.Cut(rest, `"`)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !d.heard {
		d.heard = true
		w.answered = append(w.answered, d)
	}
	switch {
	case d.id != "" && id != "" && d.id != id:
		w.broken = append(w.broken, fmt.Sprintf("%s was action %s, and is %s: %s", d.want, d.id, id, res.Status))
	case d.acked != "" && res.StatusCode == http.StatusCreated && body != d.acked,
		d.acked != "" && d.door == "poe" && res.StatusCode != http.StatusMethodNotAllowed,
		d.acked != "" && d.door != "poe" && res.StatusCode != http.StatusCreated:
		w.broken = append(w.broken, fmt.Sprintf("%s was acknowledged, and is answered %s: %.300q", d.want, res.Status, body))
	case res.StatusCode == http.StatusCreated:
		d.acked, d.id = body, id
	case res.StatusCode == http.StatusAccepted:
		d.outcome, d.id = res.Header.Get("Location"), id
	case res.StatusCode != http.StatusMethodNotAllowed && res.StatusCode != http.StatusConflict:
		w.broken = append(w.broken, fmt.Sprintf("%s is answered %s: %.300q", d.want, res.Status, body))
	}
	return nil
}

var errDark = errors.New("the power is off")

// do sends a request. Its host is always the same one, as keys belong to a host and every process has another port.
func (w *witness) do(ctx context.Context, method, url string, d *deed) (*http.Response, string, error) {
	var content io.Reader
	if d != nil {
		content = strings.NewReader(d.want + "\n" + strings.Repeat("x", d.padding))
	}
	r, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, "", err
	}
	r.Host = "api.example.com"
	if d != nil && d.door != "poe" {
		r.Header.Set("Idempotency-Key", d.want)
	}
	if d != nil && d.door == "async" {
		r.Header.Set("Prefer", "respond-async")
	}
	if d != nil && d.told {
		r.Header.Set("Callback-URL", w.hook)
	}
	res, err := w.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res, gist(body), err
}

// gist is a body as a witness remembers it: a long one by its digest.
func gist(body []byte) string {
	if len(body) > 4096 {
		return fmt.Sprintf("%d bytes, %x", len(body), sha256.Sum256(body))
	}
	return string(body)
}
