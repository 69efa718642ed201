package prove_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A verdict is what was found of all deeds of a witness when everything had come to rest.
type verdict struct {
	mu                      sync.Mutex
	acked, promised, called int
	states                  map[string]int
}

// verify holds the ledger that base serves against what clients, judge and ear remember. It sends everything again.
func (w *witness) verify(ctx context.Context, base string, j *judge, e *ear) (*verdict, []string) {
	v := &verdict{states: map[string]int{}}
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	todo := make(chan *deed)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for d := range todo {
				if wrong := w.examine(ctx, base, d, j, e, v); wrong != "" {
					w.complain("%s (%s, %s): %s", d.want, d.door, d.id, wrong)
				}
			}
		})
	}
	for _, d := range w.all {
		todo <- d
	}
	close(todo)
	clients.Wait()
	return v, append(w.broken, j.doubled()...)
}

// examine says what is wrong with one deed.
func (w *witness) examine(ctx context.Context, base string, d *deed, j *judge, e *ear, v *verdict) string {
	if d.door == "poe" && d.id == "" {
		return "" // its URI was never received
	}
	state, told, err := w.rest(ctx, base, d)
	if err != nil {
		return err.Error()
	}
	n := j.of(d.want)
	switch {
	case n > 1:
		return fmt.Sprintf("it was executed %d times", n)
	case d.acked != "" && (state != "done" || n != 1):
		return fmt.Sprintf("it was acknowledged, is %s, and was executed %d times", state, n)
	case d.acked != "" && d.door == "poe" && told != d.acked:
		return fmt.Sprintf("it was acknowledged with %.100q, and its outcome is %.100q", d.acked, told)
	case state == "done" && n != 1, state == "unused" && n != 0, state == "burned" && n != 0:
		return fmt.Sprintf("it is %s, and was executed %d times", state, n)
	case state != "done" && state != "unknown" && (state != "unused" || d.door != "poe"):
		return fmt.Sprintf("it is %q", state)
	}
	if err := w.post(ctx, base, d); err != nil { // which looks for itself what the answer should be
		return err.Error()
	}
	if n := j.of(d.want); n > 1 {
		return fmt.Sprintf("the same request again executed it for the %dth time", n)
	}
	if wrong := d.called(ctx, e, state); wrong != "" {
		return wrong
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.states[state]++
	v.acked += min(1, len(d.acked))
	v.promised += min(1, len(d.outcome))
	if d.told && state == "done" {
		v.called++
	}
	return ""
}

// rest returns where the deed stands, and what is told of it, and waits until that is final.
func (w *witness) rest(ctx context.Context, base string, d *deed) (state, told string, err error) {
	for {
		var res *http.Response
		switch {
		case d.door == "poe":
			res, told, err = w.do(ctx, http.MethodGet, base+d.target, nil)
		case d.outcome != "":
			res, told, err = w.do(ctx, http.MethodGet, base+d.outcome, nil)
		default: // what has no address is asked for by sending it again
			if err = w.post(ctx, base, d); err == nil {
				res, told, err = w.do(ctx, http.MethodPost, base+d.target, d)
			}
		}
		if err != nil {
			return "", "", err
		}
		state, _, _ := strings.Cut(res.Header.Get("POE-State"), ";")
		if state != "accepted" && state != "sent" && state != "running" {
			return state, told, nil
		}
		pause(ctx)
		if ctx.Err() != nil {
			return "", "", fmt.Errorf("it is still %s: %w", state, ctx.Err())
		}
	}
}

// called waits until the ear has heard of what is done, and says what is wrong with what it heard.
func (d *deed) called(ctx context.Context, e *ear, state string) string {
	if !d.told || state != "done" {
		return ""
	}
	for ctx.Err() == nil {
		switch n := e.messages(d.id); {
		case n == 1:
			return ""
		case n > 1:
			return fmt.Sprintf("its client was told of it in %d messages", n)
		}
		pause(ctx)
	}
	return "its client was never told of it"
}

// pause is for asking again.
func pause(ctx context.Context) {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
