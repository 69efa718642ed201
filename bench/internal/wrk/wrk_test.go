package wrk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/bench/internal/wrk"
)

const counted = `{"requests":100,"microseconds":2000000,"above_399":7,"broken":0,"p50":1500,"p99":9000,"minted":0,"posted":0,"others":0}`

func TestParse(t *testing.T) {
	want := wrk.Result{Requests: 100, Took: 2 * time.Second, P50: 1500 * time.Microsecond, P99: 9 * time.Millisecond, Above399: 7}
	usedUp := want
	usedUp.UsedUp = true
	tests := []struct {
		name, said string
		want       wrk.Result
		fails      string
	}{
		{"a round", "bench: ready\nRunning 60m test\n100 requests in 2.00s, 1KB read\nbench: " + counted + "\n", want, ""},
		{"used up", "bench: ready\nbench: ready\nbench: out\nbench: " + counted + "\n", usedUp, ""},
		{"nothing counted", "bench: ready\nRunning 60m test\n", wrk.Result{}, "counted nothing"},
		{"broken connections", "bench: " + strings.Replace(counted, `"broken":0`, `"broken":2`, 1), wrk.Result{}, "2 broken"},
		{"other statuses", "bench: " + strings.Replace(counted, `"others":0`, `"others":3`, 1), wrk.Result{}, "3 answers of another"},
		{"no answer", "bench: " + strings.Replace(counted, `"requests":100`, `"requests":0`, 1), wrk.Result{}, "no answer"},
		{"not JSON", "bench: {\n", wrk.Result{}, "reading what wrk counted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wrk.Parse([]byte(tt.said))
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := wrk.Find(t.TempDir()); !errors.Is(err, wrk.ErrMissing) {
		t.Errorf("got %v", err)
	}
}

// requests counts what arrives.
type requests struct {
	mu   sync.Mutex
	seen map[string]int
}

func (r *requests) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]int{}
	}
	r.seen[what]++
	return len(r.seen)
}

// most returns the highest number of equal requests, and how many differ.
func (r *requests) most() (most, differ int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.seen {
		most = max(most, n)
	}
	return most, len(r.seen)
}

// find finds wrk. What it does with the script can only be seen where it is installed.
func find(t *testing.T) *wrk.Wrk {
	t.Helper()
	if _, err := exec.LookPath("wrk"); err != nil {
		t.Skip("wrk is not installed")
	}
	w, err := wrk.Find(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestOnceSendsEachTargetOnce(t *testing.T) {
	w := find(t)
	var got requests
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.count(r.Method + " " + r.RequestURI + " " + r.Header.Get("Content-Type") + " " + string(body))
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	var targets []string
	for i := range 500 {
		targets = append(targets, fmt.Sprintf("/orders?x=%d", i))
	}
	r, err := w.Run(t.Context(), wrk.Load{Mode: wrk.Once, URL: srv.URL, Targets: targets, Body: `{"a":1}`, Connections: 8, Duration: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	most, differ := got.most()
	if !r.UsedUp || r.Took > 30*time.Second || r.Above399 != 0 || r.Requests > differ {
		t.Errorf("%+v, and %d arrived", r, differ)
	}
	// A thread that has come to its end may send its last target once more for each connection, before it stops; wrk does not count the answers.
	if most > 9 || differ < 250 {
		t.Errorf("%d different requests, one of them %d times", differ, most)
	}
	if got.seen[`POST /orders?x=0 application/json {"a":1}`] == 0 {
		t.Errorf("the first target is not among them")
	}
}

// The threads read long lists one after the other. A round is nothing but the time in which all of them send, and it ends, although wrk ignores
// signals until it has begun.
func TestThreadsBeginTogether(t *testing.T) {
	w := find(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var first, last atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now().UnixNano()
		first.CompareAndSwap(0, now)
		last.Store(now)
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	targets := make([]string, 100_000)
	for i := range targets {
		targets[i] = fmt.Sprintf("/orders?x=%0330d", i)
	}
	r, err := w.Run(ctx, wrk.Load{Mode: wrk.Again, URL: srv.URL, Targets: targets, Body: "{}", Connections: 2, Duration: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if sent := time.Duration(last.Load() - first.Load()); sent > r.Took+250*time.Millisecond {
		t.Errorf("requests came for %s, of which wrk counts %s", sent, r.Took)
	}
}

// wrk may lose a signal: it gets more until it has ended.
func TestLostSignals(t *testing.T) {
	bin := t.TempDir()
	deaf := "#!/bin/sh\nn=0\ntrap 'n=$((n + 1))' INT\necho 'bench: ready'\nread -r _\nwhile [ $n -lt 3 ]; do :; done\necho 'bench: " + counted + "'\n"
	if err := os.WriteFile(filepath.Join(bin, "wrk"), []byte(deaf), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	w := find(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := w.Run(ctx, wrk.Load{Mode: wrk.Keyed, URL: "http://127.0.0.1:1", Connections: 1, Duration: time.Millisecond})
	if err != nil || r.Requests != 100 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestKeyedSendsAnotherUUIDEachTime(t *testing.T) {
	w := find(t)
	var got requests
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.count(r.Header.Get("Idempotency-Key"))
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	load := wrk.Load{Mode: wrk.Keyed, URL: srv.URL + "/orders", Key: "Idempotency-Key", Body: "{}", Connections: 4, Duration: 50 * time.Millisecond}
	for range 2 {
		if _, err := w.Run(t.Context(), load); err != nil {
			t.Fatal(err)
		}
	}
	most, differ := got.most()
	if most != 1 || differ < 10 {
		t.Errorf("%d different keys, one of them %d times", differ, most)
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-0000-4000-8[0-9]{3}-[0-9]{12}$`)
	for key := range got.seen {
		if !uuid.MatchString(key) {
			t.Fatalf("key %q", key)
		}
	}
}

func TestMintPostsToWhatItWasGiven(t *testing.T) {
	w := find(t)
	var minted, posted requests
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			n := minted.count(fmt.Sprint(time.Now().UnixNano()))
			_, _ = fmt.Fprintf(w, "/orders?poe=%d\n", n)
			return
		}
		posted.count(r.RequestURI)
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	r, err := w.Run(t.Context(), wrk.Load{Mode: wrk.Mint, URL: srv.URL, Mint: "/poe/new", Body: "{}", Connections: 1, Duration: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if most, differ := posted.most(); most != 1 || differ < r.Posted || r.Posted == 0 || r.Minted < r.Posted || r.Minted+r.Posted != r.Requests {
		t.Errorf("%+v, and %d URIs were posted to, one of them %d times", r, differ, most)
	}
}

func TestMintCountsOtherStatuses(t *testing.T) {
	w := find(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "/orders?poe=1\n")
	}))
	defer srv.Close()
	_, err := w.Run(t.Context(), wrk.Load{Mode: wrk.Mint, URL: srv.URL, Mint: "/poe/new", Body: "{}", Connections: 1, Duration: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "answers of another status") {
		t.Errorf("got %v", err)
	}
}
