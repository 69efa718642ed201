package core_test

import (
	"context"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	core "github.com/postonce/poe/internal/poe"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/storetest"
)

// counter returns the value of a metric whose label has that value, or whose labels have those, in the order of their names, with a slash between;
// "" for one without labels, or for the sum of all. Of a histogram it is the number of observations.
func counter(t *testing.T, b *bench, name, label string) float64 {
	t.Helper()
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if label == "" || strings.Join(values, "/") == label {
				sum += value(m)
			}
		}
	}
	return sum
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	default:
		return float64(m.GetHistogram().GetSampleCount())
	}
}

// A listing registerer remembers the names of what it registers.
type listing struct {
	prometheus.Registerer
	names map[string]bool
}

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (l *listing) Register(c prometheus.Collector) error {
	all := make(chan *prometheus.Desc)
	go func() {
		defer close(all)
		c.Describe(all)
	}()
	for d := range all {
		l.names[fqName.FindStringSubmatch(d.String())[1]] = true
	}
	return l.Registerer.Register(c)
}

// What workers execute is not among what runs for clients, and the page says so.
func TestRunningIsOfClients(t *testing.T) {
	b := deferring(t, nil)
	monitor(t, b.do("POST", b.mint("/orders"), "apples", later))
	b.app = func(http.ResponseWriter, *http.Request) {
		if n := counter(t, b, "poe_running", ""); n != 0 {
			t.Errorf("%v run for clients", n)
		}
	}
	b.work()
	if b.executed.Load() != 1 {
		t.Errorf("executed %d times", b.executed.Load())
	}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if row := regexp.MustCompile("(?m)^\\| `poe_running` .*$").FindString(string(page)); !strings.Contains(row, "those of `workers` are not among them") {
		t.Errorf("the page says %s", row)
	}
}

// Requests are told apart by the door that named their action, in the words of docs/operations.md.
func TestRequestsByDoor(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{
			{Match: "POST /gifts/{ref}", ClientID: "path:ref"},
			{Match: "POST *", Doors: []string{"poe", "key", "repeatability", "post-put"}},
		}
	})
	b.do("POST", b.mint("/orders"), "x")
	b.do("POST", "/orders", "x", "Idempotency-Key: a")
	b.do("POST", "/gifts/ann", "x")
	b.do("POST", "/orders", "x", "Repeatability-Request-ID: r", "Repeatability-First-Sent: "+b.clock().UTC().Format(http.TimeFormat))
	b.do("POST", "/orders", "")
	b.do("POST", "/orders", "x")
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `poe_requests_total` .*$").FindString(string(page))
	for _, door := range []string{"poe", "key", "client-id", "repeatability", "post-put", "none"} {
		if n := counter(t, b, "poe_requests_total", door); n != 1 {
			t.Errorf("%s: %v", door, n)
		}
		if !strings.Contains(row, "`"+door+"`") {
			t.Errorf("%s is not in the page: %s", door, row)
		}
	}
	if n := counter(t, b, "poe_requests_total", ""); n != 6 {
		t.Errorf("%v requests in all", n)
	}
	// What no door lets in has come to one all the same.
	wantProblem(t, b.do("POST", "/orders", "x", `Idempotency-Key: "a`), 400, "key-invalid")
	wantProblem(t, b.do("POST", "/orders", "x", "Repeatability-Request-ID: r"), 400, "key-invalid")
	if keys, repeatable := counter(t, b, "poe_requests_total", "key"), counter(t, b, "poe_requests_total", "repeatability"); keys != 2 || repeatable != 2 {
		t.Errorf("turned away, and counted: %v by key, %v repeatable", keys, repeatable)
	}
}

// Every metric that is registered counts what its name says.
func TestEveryMetric(t *testing.T) {
	registered := &listing{names: map[string]bool{}}
	checked := map[string]bool{}
	open := func(change func(*core.Config)) (*bench, *tampered) {
		return newTampered(t, func(c *core.Config) {
			registered.Registerer = c.Metrics
			c.Metrics = registered
			if change != nil {
				change(c)
			}
		})
	}
	check := func(b *bench, name, label string, want float64) {
		t.Helper()
		if got := counter(t, b, name, label); got != want {
			t.Errorf("%s %s is %v, want %v", name, label, got, want)
		}
		checked[name] = true
	}

	b, ledger := open(nil)
	i := b.doneIssue()                    // 1 minted, won, done
	b.do("GET", i.URI, "")                // replayed
	b.do("POST", i.URI, "")               // consumed
	b.do("GET", "/orders", "", "POE: 1")  // no door, minted
	b.do("POST", "/orders", "")           // no door
	b.do("DELETE", b.mint("/orders"), "") // burned
	b.app = answering(422)
	b.do("POST", b.mint("/orders"), "") // unused
	b.app = answering(502)
	b.do("POST", b.mint("/orders"), "") // unknown
	check(b, "poe_requests_total", "poe", 6)
	check(b, "poe_requests_total", "none", 2)
	check(b, "poe_minted_total", "", 5)
	check(b, "poe_claims_total", "won", 3)
	check(b, "poe_claims_total", "taken", 0)
	check(b, "poe_settled_total", "done", 1)
	check(b, "poe_settled_total", "burned", 1)
	check(b, "poe_settled_total", "unused", 1)
	check(b, "poe_settled_total", "unknown", 1)
	check(b, "poe_recoveries_total", "hold/person", 1) // the rest where the policies are tested
	check(b, "poe_recoveries_total", "", 1)
	check(b, "poe_problems_total", "consumed", 1)
	check(b, "poe_problems_total", "", 1)
	check(b, "poe_replayed_total", "", 1)
	check(b, "poe_execution_seconds", "complete", 3)

	ledger.claim = func(store.Record) error { return store.ErrUnavailable }
	b.do("POST", b.mint("/orders"), "")
	check(b, "poe_claims_total", "refused", 1)
	b.app = nil
	first := true
	ledger.claim = func(r store.Record) error { // somebody else is quicker
		if first {
			first = false
			r.Term = store.Term{9}
			_, err := storetest.Claim(t.Context(), ledger.Store, r)
			return err
		}
		return nil
	}
	if res := b.do("POST", b.mint("/orders"), ""); res.StatusCode != 409 {
		t.Errorf("somebody else was quicker: %d", res.StatusCode)
	}
	check(b, "poe_claims_total", "taken", 1)
	ledger.claim, ledger.advance = nil, func() error { return store.ErrUnavailable }
	b.do("POST", b.mint("/orders"), "")
	check(b, "poe_unstored_total", "", 1)
	ledger.advance = nil
	ledger.health = store.Health{Free: 1234, Low: true, Ahead: time.Hour, Left: [store.Kinds]int64{3, 2, 1}}
	check(b, "poe_disk_free_bytes", "", 1234)
	check(b, "poe_disk_low", "", 1)
	check(b, "poe_clock_ahead_seconds", "", 3600)
	check(b, "poe_left_to_person", "request", 3)
	check(b, "poe_left_to_person", "callback", 2)
	check(b, "poe_left_to_person", "compensation", 1)
	ledger.health = store.Health{}
	check(b, "poe_disk_low", "", 0)

	var spool *replay.Spool
	b, _ = open(func(c *core.Config) { spool = c.Spool })
	entered, leave := make(chan struct{}), make(chan struct{})
	b.app = func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-leave }
	var all sync.WaitGroup
	for _, size := range []int{100, 100_000} {
		uri := b.mint("/orders")
		all.Go(func() { b.do("POST", uri, strings.Repeat("x", size)) })
		<-entered
	}
	check(b, "poe_running", "", 2)
	memory, disk := spool.Usage()
	if memory < 100 || disk < 100_000 {
		t.Errorf("the spool holds %d bytes of memory and %d of disk", memory, disk)
	}
	check(b, "poe_spool_memory_bytes", "", float64(memory))
	check(b, "poe_spool_disk_bytes", "", float64(disk))
	check(b, "poe_waiting", "", 0)
	close(leave)
	all.Wait()
	check(b, "poe_running", "", 0)
	check(b, "poe_spool_memory_bytes", "", 0)
	check(b, "poe_spool_disk_bytes", "", 0)

	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		i := b.runningIssue()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { b.do("POST", i.URI, "", "Prefer: wait=20") })
		synctest.Wait()
		check(b, "poe_waiting", "", 1)
		all.Wait()
		check(b, "poe_waiting", "", 0)

		swept := newBench(t, nil)
		swept.doneIssue()
		swept.do("DELETE", swept.mint("/orders"), "")
		swept.advance(40 * store.Day)
		all.Go(func() {
			if err := swept.gate.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		timer := time.NewTimer(61 * time.Second)
		defer timer.Stop()
		<-timer.C
		synctest.Wait()
		check(swept, "poe_swept_total", "", 2)
		cancel()
		all.Wait()
	})

	h := newHook(t)
	told := calling(t, h)
	for _, h.answer = range []int{204, 500} {
		told.do("POST", told.mint("/orders"), "x", "Callback-URL: "+h.URL)
		told.work()
	}
	check(told, "poe_callbacks_total", "delivered", 1)
	check(told, "poe_callbacks_total", "failed", 1)

	off, _ := open(nil)
	off.deferred()
	off.app = answering(429)
	off.do("POST", off.mint("/orders"), "x", later)
	off.work()
	check(off, "poe_execution_seconds", "complete", 1)
	check(off, "poe_settled_total", "", 0) // it is tried again

	late, _ := open(nil)
	entered, leave = late.stopped()
	i = late.issue("/orders")
	all.Go(func() { late.do("POST", i.URI, "") })
	<-entered
	late.another()
	close(leave)
	all.Wait()
	check(late, "poe_late_answers_total", "unknown", 1)

	for name := range registered.names {
		if !checked[name] {
			t.Errorf("%s is asserted nowhere", name)
		}
	}
	for name := range checked {
		if !registered.names[name] {
			t.Errorf("%s is not registered", name)
		}
	}
}

// An end that could not be stored is no rest: the action comes to it when recovery finds that nobody executes it any more.
func TestSettledWhenItIsStored(t *testing.T) {
	b, ledger := newTampered(t, nil)
	ledger.advance = func() error { return store.ErrUnavailable }
	i := b.issue("/orders")
	b.do("POST", i.URI, "")
	ledger.advance = nil
	if n := counter(t, b, "poe_settled_total", ""); n != 0 {
		t.Errorf("poe_settled_total is %v while the ledger says %v", n, b.lookup(i.ID).State)
	}
	b.advance(time.Hour)
	if err := b.gate.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := counter(t, b, "poe_settled_total", "unknown"); n != 1 || b.lookup(i.ID).State != store.Unknown {
		t.Errorf("poe_settled_total is %v when the ledger says %v", n, b.lookup(i.ID).State)
	}
}
