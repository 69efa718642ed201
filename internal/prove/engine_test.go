package prove_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/tokens"
)

// A house is the engine in this process, over some ledger, with the judge as its application. Its process ends when the ledger says
// that it must: from then on nobody answers.
type house struct {
	store   store.Store
	gate    *core.Gate
	handler http.Handler
	dead    chan struct{}
}

// settle opens the engine over a ledger. Keys are kept elsewhere; they sign for one ledger.
func (k *keyring) settle(t *testing.T, h *house, j *judge) error {
	ring, err := k.of(h.store.Identity())
	if err != nil {
		return err
	}
	spool, err := replay.NewSpool(replay.SpoolConfig{Dir: t.TempDir()})
	if err != nil {
		return err
	}
	if h.gate, err = core.New(t.Context(), core.Config{Store: h.store, Keys: ring, Spool: spool}); err != nil {
		return err
	}
	if err := h.gate.Recover(t.Context()); err != nil {
		return err
	}
	guarded := h.gate.Once(core.HandlerExecutor{Handler: j}, j)
	h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.gate.Owns(r.URL.Path) {
			h.gate.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
	return nil
}

// A keyring has the keys of each ledger, which outlive it.
type keyring struct {
	mu    sync.Mutex
	rings map[store.ID]*tokens.Ring
}

func (k *keyring) of(ledger store.ID) (*tokens.Ring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.rings[ledger]; ok {
		return r, nil
	}
	r, err := tokens.Ephemeral(tokens.Config{Audience: ledger.String()}, rand.Reader)
	if err == nil {
		k.rings[ledger] = r
	}
	return r, err
}

func newKeyring() *keyring { return &keyring{rings: map[store.ID]*tokens.Ring{}} }

// inhabit opens ledger and engine on a disk. ok is false where the ledger says that the process must end while it is being opened.
// What ends has the function that ends it from outside.
func (k *keyring) inhabit(t *testing.T, disk vfs.FS, j *judge, ends ...*func()) (h *house, ok bool, err error) {
	h = &house{dead: make(chan struct{})}
	var once sync.Once
	done := make(chan error, 1)
	die := func(string) { once.Do(func() { close(h.dead) }) }
	for _, f := range ends {
		*f = func() { die(""); select {} }
	}
	go func() {
		defer func() { // Pebble panics where a new MANIFEST may be there or not
			if p := recover(); p != nil {
				die("")
			}
		}()
		st, err := pebblestore.Open(t.Context(), pebblestore.Config{
			Dir: "/poe", FS: disk, CacheSize: 1 << 20, Fatal: die,
		})
		if err == nil {
			h.store = st
			err = k.settle(t, h, j)
		}
		done <- err
	}()
	select {
	case err = <-done:
		return h, true, err
	case <-h.dead:
		return h, false, nil
	}
}

// leave ends the process without a word. What the ledger still holds is given back if it can be.
func (h *house) leave() {
	if h.store != nil {
		go func() { _ = h.store.Close() }()
	}
}

// An answer is what a client gets.
type answer struct {
	code        int
	state, body string
}

// ask sends a request. It gets no answer from a process that has ended.
func (h *house) ask(method, target, want string, header ...string) (answer, bool) {
	done := make(chan answer, 1)
	go func() {
		r := httptest.NewRequest(method, target, strings.NewReader(want))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		state, _, _ := strings.Cut(w.Header().Get("POE-State"), ";")
		done <- answer{w.Code, state, w.Body.String()}
	}()
	select {
	case a := <-done:
		return a, true
	case <-h.dead:
		return answer{}, false
	case <-time.After(time.Minute):
		panic("neither an answer nor an end")
	}
}

// A wish is an action as its client in this process remembers it.
type wish struct {
	want, target, key string
	acked             string // the answer that the client has got
	purged            bool   // and it need not be kept: the disk had failed
}

// mint begins a wish: every second comes with a key, every third is answered at length.
func (h *house) mint(i int) (*wish, bool) {
	w := &wish{want: fmt.Sprintf("wish-%d", i), target: "/orders"}
	if i%3 == 0 {
		w.target = "/orders?large"
	}
	if i%2 == 1 {
		w.key = w.want
		return w, true
	}
	a, alive := h.ask(http.MethodGet, "/poe/new?for="+strings.ReplaceAll(w.target, "?", "%3F"), "")
	if !alive || a.code != http.StatusOK {
		return nil, false
	}
	_, rest, _ := strings.Cut(a.body, `"uri":"`)
	w.target, _, _ = strings.Cut(rest, `"`)
	w.target = strings.ReplaceAll(w.target, `\u0026`, "&")
	return w, true
}

// post sends the request of a wish.
func (h *house) post(w *wish) (answer, bool) {
	if w.key != "" {
		return h.ask(http.MethodPost, w.target, w.want, "Idempotency-Key", w.key)
	}
	return h.ask(http.MethodPost, w.target, w.want)
}

// live makes wishes and has them executed until the process ends. It tells what it knows each time, before it goes on.
func (h *house) live(n int, know func(w *wish)) {
	for i := range n {
		w, alive := h.mint(i)
		if w != nil {
			know(w)
		}
		if !alive || w == nil {
			return
		}
		a, alive := h.post(w)
		if !alive {
			return
		}
		if a.code == http.StatusCreated && a.state == "done" {
			known := *w
			known.acked = a.body
			know(&known)
		}
	}
}

// wrong sends everything again, to a process that has opened what was left of the ledger, and says what is not as it was promised.
func (h *house) wrong(wishes map[string]wish, j *judge) (wrong []string) {
	for _, w := range wishes {
		a, alive := h.post(&w)
		n := j.of(w.want)
		switch {
		case !alive:
			return append(wrong, "the process ended")
		case n > 1:
			wrong = append(wrong, fmt.Sprintf("%s was executed %d times", w.want, n))
		case w.acked == "":
		case w.key != "" && a.code == http.StatusCreated && a.body == w.acked:
		case w.key == "" && a.code == http.StatusMethodNotAllowed:
			if got, _ := h.ask(http.MethodGet, w.target, ""); got.body != w.acked && (!w.purged || got.code != http.StatusGone) {
				wrong = append(wrong, fmt.Sprintf("%s was acknowledged, and is %d %s: %.200q", w.want, got.code, got.state, got.body))
			}
		case w.purged && a.code == http.StatusGone:
		default:
			wrong = append(wrong, fmt.Sprintf("%s was acknowledged, and is answered %d %s: %.200q", w.want, a.code, a.state, a.body))
		}
	}
	return wrong
}

// fork returns a judge who knows what this one knows, and goes on by itself.
func (j *judge) fork() *judge {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &judge{count: maps.Clone(j.count), wants: maps.Clone(j.wants), quick: j.quick}
}

// A memory is a MemFS that is not cloned while it reuses a file: there MemFS takes its own lock twice, for reading, and a clone that asks for it
// in between stops everything for ever.
type memory struct {
	*vfs.MemFS
	mu sync.Mutex
}

func newMemory() *memory { return &memory{MemFS: vfs.NewCrashableMem()} }

func (d *memory) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.MemFS.ReuseForWrite(from, to, category)
}

func (d *memory) clone(cfg vfs.CrashCloneCfg) *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.CrashClone(cfg)
}
