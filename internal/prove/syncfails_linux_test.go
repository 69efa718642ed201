package prove_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"
)

// The disk says of the real binary's syncs that they failed. The process has ended within a second, and on what is left of the disk everything
// is as the clients and the application remember it.
func TestFailedSyncEndsTheProcess(t *testing.T) {
	needsFUSE(t)
	random := seeded(t)
	j, e := newJudge(), newEar()
	app, receiver := httptest.NewServer(j), httptest.NewServer(e)
	defer app.Close()
	defer receiver.Close()
	o := &outage{
		random: random, judge: j, witness: newWitness("sync", receiver.URL+"/hook", "poe", "key", "async"),
		config: settings(t, app.URL, receiver.URL, ""), dir: t.TempDir(), disk: newPower(nil),
	}
	for range (form{20, 3, 1}).size() {
		err := o.serve(func(p *process) *power {
			work, stop := context.WithCancel(t.Context())
			defer stop()
			began := make(chan time.Time, 1)
			time.AfterFunc(time.Duration(50+random.IntN(100))*time.Millisecond, func() {
				o.disk.mu.Lock()
				o.disk.broken = true
				o.disk.mu.Unlock()
				began <- time.Now()
			})
			go func() { <-p.over; stop() }()
			go func() { // one that goes on is a failure, and must end
				select {
				case <-p.over:
				case <-time.After(10 * time.Second):
					p.kill()
				}
			}()
			o.busy(work, p.url, 4)
			<-p.over
			if took := time.Since(<-began); took > time.Second {
				t.Errorf("it went on for %s after a sync had failed", took)
			}
			if code := p.cmd.ProcessState.ExitCode(); code == 0 || code == -1 {
				t.Errorf("it ended with %d: %v", code, p.said)
			}
			return o.disk.cut(nil)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, wrong, err := o.look(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}
