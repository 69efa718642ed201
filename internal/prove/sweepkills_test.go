package prove_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Sweeps that are killed on their way over one shelf. Each begins where the one before was killed: while names are freed or right after it, while the
// records are forgotten, and after that.
var sweepPoints = [][]string{
	{"names-freed", "upkeep-queued", "upkeep-unsynced"},
	{"upkeep-queued", "upkeep-unsynced", "swept"},
}

// sow has some actions done on a day, and leaves some of those with a POE URI open: as many kills as that takes, since one may find nothing under way but keys.
func (c *campaign) sow(day int) error {
	for range 10 {
		if open, err := c.leave(day); err != nil || open {
			return err
		}
	}
	return errors.New("ten kills have left no action with a POE URI open")
}

// leave is one of these kills. It notes what is open after it, and tells whether anything is.
func (c *campaign) leave(day int) (open bool, err error) {
	before := len(c.all)
	if err := c.kill("sent", 20, ahead(day)); err != nil {
		return false, err
	}
	p, err := c.live(ahead(day))
	if err != nil {
		return false, err
	}
	defer p.kill()
	for _, d := range c.all[before:] {
		if d.door != "poe" || d.id == "" || d.acked != "" {
			continue
		}
		res, _, err := c.do(c.t.Context(), http.MethodGet, p.url+d.target, nil)
		if err != nil {
			return false, err
		}
		d.open = strings.HasPrefix(res.Header.Get("POE-State"), "unknown")
		open = open || d.open
	}
	c.client.CloseIdleConnections()
	return open, nil
}

func ahead(day int) string { return fmt.Sprintf("POE_CLOCK_AHEAD=%dh", 24*day) }

// reap kills the sweeps of what was sown three days ago. A write that was queued when its process was killed may have been made all the same, by the thread that
// commits; if it was the last one, the next process has none to be killed at.
func (c *campaign) reap(day int) error {
	c.turn++
	for _, point := range sweepPoints[c.turn%len(sweepPoints)] {
		err := c.kill(point, 1, ahead(day))
		if errors.Is(err, errSpared) && point == "upkeep-unsynced" {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reused sends everything again that came with a POE URI, and counts the answers that say so.
func (c *campaign) reused(day int) (unknown, gone int, err error) {
	p, err := c.live(ahead(day))
	if err != nil {
		return 0, 0, err
	}
	defer p.kill()
	for _, d := range c.all {
		if d.door != "poe" || d.id == "" {
			continue
		}
		res, body, err := c.do(c.t.Context(), http.MethodPost, p.url+d.target, d)
		if err != nil {
			return 0, 0, err
		}
		switch open := strings.Contains(body, "outcome-unknown"); {
		case d.open && !open, d.acked != "" && open:
			c.complain("%s was open: %t, acknowledged: %t; it is answered %s: %.300q", d.want, d.open, d.acked != "", res.Status, body)
		case open:
			unknown++
		case res.StatusCode == http.StatusGone && d.acked != "":
			gone++
		case res.StatusCode != http.StatusGone:
			c.complain("%s is answered %s long after it: %.300q", d.want, res.Status, body)
		}
		if n := c.judge.of(d.want); n > 1 {
			c.complain("%s was executed %d times", d.want, n)
		}
	}
	c.client.CloseIdleConnections()
	return unknown, gone, nil
}

// Sweeps are killed on their way, day after day. What was forgotten is not executed again by its URI, and what was open is still there.
func TestKillSweeps(t *testing.T) {
	began, random := time.Now(), seeded(t)
	j, e := newJudge(), newEar()
	app, receiver := httptest.NewServer(j), httptest.NewServer(e)
	defer app.Close()
	defer receiver.Close()
	config := settings(t, app.URL, receiver.URL, "ttl: 1s\nretention: 1s\n")
	n := &tally{hits: map[string]int{}, states: map[string]int{}}
	ledgers, days := form{20, 2, 1}.size(), form{26, 4, 3}.size()
	lanes(random, ledgers, func(i int, random *rand.Rand) {
		c := &campaign{
			t: t, random: random, judge: j, ear: e, witness: newWitness(fmt.Sprintf("sown-%d", i), "", "poe", "key"),
			args: []string{"serve", "--config", config, "--store", "pebble:" + t.TempDir() + "/ledger", "--admin", "127.0.0.1:0"}, mu: &n.mu, hits: n.hits,
		}
		c.once = true
		for day := range days {
			if err := c.sow(4 * day); err != nil {
				t.Error(err)
				return
			}
			if err := c.reap(4*day + 3); err != nil {
				t.Error(err)
				return
			}
		}
		unknown, gone, err := c.reused(4*days + 3)
		if err != nil || unknown == 0 || gone == 0 {
			t.Errorf("%d unknown, %d gone, %v", unknown, gone, err)
		}
		for _, w := range append(c.broken, j.doubled()...) {
			t.Error(w)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.deeds += len(c.all)
		n.states["unknown"] += unknown
		n.states["gone"] += gone
	})
	least := form{whole: 200, short: 1, least: 1}.size()
	for _, points := range sweepPoints {
		for _, point := range points {
			if n.hits[point] < least {
				t.Errorf("%s was hit %d times, and %d are wanted", point, n.hits[point], least)
			}
		}
	}
	for _, k := range n.hits {
		n.kills += k
	}
	t.Logf("hits: %v, actions ended %v", n.hits, n.states)
	publish(t, began, figure{
		Proof:  "kills of sweeps",
		Sample: fmt.Sprintf("%d kills, each point at least %d times; %d actions, %d forgotten, %d open", n.kills, least, n.deeds, n.states["gone"], n.states["unknown"]),
		Result: "0 executed again after they were forgotten, 0 open ones lost",
	})
}
