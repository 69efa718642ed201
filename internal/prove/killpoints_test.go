package prove_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The kill points that requests come by, whatever they want.
var trafficPoints = []string{
	"claiming", "claim-queued", "claim-unsynced", "claimed", "sent", "answered", "answer-kept", "settle-queued", "settle-unsynced", "settled", "answering",
	"request-kept", "accept-queued", "accept-unsynced", "accepted", "mark-queued", "mark-unsynced", "marked", "told",
}

// Recoveries that are killed, one after the other: none gets to the end, so that the third kill is in the recovery from the recovery from the
// recovery.
var recoveryPoints = [][]string{
	{"recovering", "recovering", "abandon-queued"},
	{"recovering", "recovering", "abandon-unsynced"},
	{"recovering", "recovering", "recovered"},
}

// A campaign is one ledger and all the processes that were killed over it.
type campaign struct {
	t      *testing.T
	random *rand.Rand
	judge  *judge
	ear    *ear
	*witness
	args []string
	turn int // which of several ways is next

	mu   *sync.Mutex
	hits map[string]int
}

// kill starts a process that is to kill itself when it comes to a point for the nth time, and keeps it busy until it has. That it does not is a failure:
// a proof by kills that did not happen is none.
func (c *campaign) kill(point string, n int, env ...string) error {
	program, err := armed()
	if err != nil {
		return err
	}
	p, err := launch(program, append(env, fmt.Sprintf("POE_KILL=%s:%d", point, n)), c.args...)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer stop()
	p.confirmClock()
	if p.url != "" {
		work, stopWork := context.WithCancel(ctx)
		go func() { <-p.over; stopWork() }()
		c.busy(work, p.url, 4)
		stopWork()
	}
	select {
	case <-p.over:
	case <-ctx.Done():
		p.kill()
	}
	if p.killedAt != point {
		return fmt.Errorf("%w at %s, visit %d:\n%s", errSpared, point, n, strings.Join(p.said, "\n"))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hits[point]++
	return nil
}

// errSpared: the process did not come by the point at which it was to be killed.
var errSpared = errors.New("it was to be killed, and was not")

// traffic kills once at every point that requests come by.
func (c *campaign) traffic() error {
	points := slices.Clone(trafficPoints)
	c.random.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	for _, point := range points {
		if err := c.kill(point, 1+c.random.IntN(3)); err != nil {
			return err
		}
	}
	return nil
}

// recovery kills while something is under way, and then three recoveries.
func (c *campaign) recovery() error {
	c.turn++
	if err := c.kill("sent", 2+c.random.IntN(3)); err != nil {
		return err
	}
	for _, point := range recoveryPoints[c.turn%len(recoveryPoints)] {
		if err := c.kill(point, 1); err != nil {
			return err
		}
	}
	return nil
}

// live starts a process that nothing kills by itself.
func (c *campaign) live(env ...string) (*process, error) {
	program, err := armed()
	if err != nil {
		return nil, err
	}
	p, err := launch(program, env, c.args...)
	if err == nil && p.url == "" {
		err = fmt.Errorf("it does not serve:\n%s", strings.Join(p.said, "\n"))
	}
	if err == nil {
		p.confirmClock()
	}
	return p, err
}

// confirmClock says that the clock is right, which may have leapt: until somebody does, nothing is forgotten by it, nor said to be.
func (p *process) confirmClock() {
	if p.admin == "" {
		return
	}
	if res, err := http.Post(p.admin+"/clock/confirm", "", nil); err == nil {
		_ = res.Body.Close()
	}
}

// finish lets a process live, and asks it about everything.
func (c *campaign) finish(env ...string) (*verdict, error) {
	p, err := c.live(env...)
	if err != nil {
		return nil, err
	}
	defer p.kill()
	v, wrong := c.verify(c.t.Context(), p.url, c.judge, c.ear)
	for _, w := range wrong {
		c.t.Error(w)
	}
	c.client.CloseIdleConnections()
	return v, nil
}

// A tally is what several campaigns come to.
type tally struct {
	mu                                    sync.Mutex
	kills, deeds, acked, promised, called int
	hits                                  map[string]int
	states                                map[string]int
}

func (n *tally) add(c *campaign, v *verdict) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.t.Logf("a ledger with %d actions is judged", len(c.all))
	n.deeds += len(c.all)
	n.acked += v.acked
	n.promised += v.promised
	n.called += v.called
	for s, k := range v.states {
		n.states[s] += k
	}
}

// settings writes a configuration with all the doors that are gone through here.
func settings(t *testing.T, upstream, receiver, more string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "poe.yaml")
	text := "upstream: " + upstream + "\nlisten: 127.0.0.1:0\nadmin: \"\"\nworkers: 4\n" + more +
		"callbacks:\n  allow: [\"" + strings.TrimPrefix(receiver, "http://") + "\"]\n  secrets: [whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD]\n  dangerously_insecure: true\n" +
		"routes:\n  - name: orders\n    match: POST /orders\n    principal: none\n    doors: [poe, key, async, callback]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The real binary kills itself at each of its kill points, over ledgers that have lived through many of these; clients come through four doors, and
// repeat themselves. Nothing is executed twice, no acknowledged outcome is lost, and what was accepted is executed.
func TestKillPoints(t *testing.T) {
	began, random := time.Now(), seeded(t)
	j, e := newJudge(), newEar()
	app, receiver := httptest.NewServer(j), httptest.NewServer(e)
	defer app.Close()
	defer receiver.Close()
	config := settings(t, app.URL, receiver.URL, "")
	n := &tally{hits: map[string]int{}, states: map[string]int{}}
	ledgers, rounds := form{38, 2, 1}.size(), form{10, 3, 2}.size()
	lanes(random, ledgers, func(i int, random *rand.Rand) {
		c := &campaign{
			t: t, random: random, judge: j, ear: e, witness: newWitness(fmt.Sprintf("deed-%d", i), receiver.URL+"/hook", "poe", "key", "async"),
			args: []string{"serve", "--config", config, "--store", "pebble:" + t.TempDir() + "/ledger"}, mu: &n.mu, hits: n.hits,
		}
		for range rounds {
			if err := errors.Join(c.traffic(), c.recovery(), c.recovery()); err != nil {
				t.Error(err)
				return
			}
		}
		v, err := c.finish()
		if err != nil {
			t.Error(err)
			return
		}
		n.add(c, v)
	})
	least := form{whole: 200, short: 1, least: 1}.size()
	for _, point := range slices.Concat(trafficPoints, slices.Concat(recoveryPoints...)) {
		if n.hits[point] < least {
			t.Errorf("%s was hit %d times, and %d are wanted", point, n.hits[point], least)
		}
	}
	for _, k := range n.hits {
		n.kills += k
	}
	t.Logf("hits: %v", n.hits)
	t.Logf("%d deeds, %d acknowledged, %d promised, %d called back (%d messages more than once), ended %v", n.deeds, n.acked, n.promised, n.called, e.repeats(), n.states)
	if n.acked < n.kills || n.called == 0 || n.promised == 0 || n.states["unknown"] == 0 {
		t.Error("too little was going on to prove anything")
	}
	publish(t, began, figure{
		Proof:  "kill points",
		Sample: fmt.Sprintf("%d kills at %d points, each at least %d times; %d actions, %d acknowledged", n.kills, len(n.hits), slices.Min(slices.Collect(maps.Values(n.hits))), n.deeds, n.acked),
		Result: "0 executed twice, 0 acknowledged outcomes lost, 0 callbacks missing",
	})
}

// lanes runs count campaigns, two at a time, each with a seed of its own.
func lanes(random *rand.Rand, count int, run func(i int, random *rand.Rand)) {
	todo := make(chan func())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for f := range todo {
				f()
			}
		})
	}
	for i := range count {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(i)))
		todo <- func() { run(i, own) }
	}
	close(todo)
	all.Wait()
}
