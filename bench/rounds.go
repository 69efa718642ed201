package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/postonce/poe/bench/internal/peers"
	"github.com/postonce/poe/bench/internal/proc"
	"github.com/postonce/poe/bench/internal/report"
	"github.com/postonce/poe/bench/internal/wrk"
)

// plan says what is measured.
type plan struct {
	connections []int
	rounds      int
	duration    time.Duration // of a round
	only        *regexp.Regexp
	short       bool // a smoke run: nothing is warmed up, and what is used up early is not tried again
}

// bench is one run of the command.
type bench struct {
	plan
	servers  servers
	wrk      *wrk.Wrk
	client   *http.Client // prepares rounds and confirms them
	clock    func() time.Time
	progress io.Writer
}

// A round that is too short measures little.
const (
	leastOfRound = 0.5   // of its duration, when URIs run out
	tries        = 4     // each with twice as many URIs
	guess        = 20000 // requests a second of a subject that was never measured
	coldRate     = 10000 // used URIs for a second of a cold round: they must be made by POSTs
	headroom     = 1.5   // of URIs over the fastest round so far: a thread has a share of its own
	forThePlot   = 2     // rounds at the numbers of connections that no goal is for
)

// operations is how many of what the row counts are in one request.
func (s *subject) operations() int {
	if s.kind == mintingMany {
		return mintedAtOnce
	}
	return 1
}

// series are the rounds of one number of connections.
type series struct {
	*bench
	connections int
	fastest     map[string]float64 // requests a second
	rounds      map[string][]report.Figures
}

// measure runs all subjects under all numbers of connections.
func (b *bench) measure(ctx context.Context, all []subject) (report.Rows, error) {
	var rows report.Rows
	for _, c := range b.connections {
		s := b.series(c)
		if err := s.run(ctx, all); err != nil {
			return nil, fmt.Errorf("%d connections: %w", c, err)
		}
		for _, subject := range all {
			row := report.Row{Name: subject.name, Base: subject.base, Connections: c}
			if err := b.servers.missing[subject.server]; err != nil {
				row.Missing = err.Error()
			} else {
				row.Rounds = s.rounds[subject.name]
				row.Figures = report.Median(row.Rounds)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// compared is the number of connections that goals and paced runs are for: 64, or the most where that was not measured.
func (p *plan) compared() int {
	if slices.Contains(p.connections, goalConnections) {
		return goalConnections
	}
	return slices.Max(p.connections)
}

// roundsAt is how many rounds there are at a number of connections: all of them at the one that is compared, fewer at others.
func (p *plan) roundsAt(connections int) int {
	if connections == p.compared() {
		return p.rounds
	}
	return min(p.rounds, forThePlot)
}

func (b *bench) series(connections int) *series {
	return &series{bench: b, connections: connections, fastest: map[string]float64{}, rounds: map[string][]report.Figures{}}
}

// run runs the rounds, interleaved, after a short one of each to warm up.
func (s *series) run(ctx context.Context, all []subject) error {
	warm, rounds := 1, s.roundsAt(s.connections)
	if s.short {
		warm = 0
	}
	for round := range rounds + warm {
		for _, subject := range all {
			duration := s.duration
			if round < warm {
				duration = min(duration, time.Second)
			}
			f, err := s.round(ctx, &subject, duration)
			if errors.Is(err, peers.ErrMissing) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", subject.name, err)
			}
			_, _ = fmt.Fprintf(s.progress, "%d connections, round %d: %s: %.0f/s, %.1f µs\n",
				s.connections, round, subject.name, f.PerSecond, float64(f.CPU.Nanoseconds())/1e3)
			if round >= warm {
				s.rounds[subject.name] = append(s.rounds[subject.name], f)
			}
		}
	}
	return nil
}

// round measures a subject once. Where its URIs are used up too early it mints more and begins again.
func (s *series) round(ctx context.Context, of *subject, duration time.Duration) (report.Figures, error) {
	on, err := s.servers.get(ctx, of.server)
	if err != nil {
		return report.Figures{}, err
	}
	n := s.needed(of, duration)
	for range tries {
		f, r, err := s.try(ctx, of, on, wrk.Load{Connections: s.connections, Duration: duration}, n)
		enough := !r.UsedUp || of.kind == cold || s.short || r.Took.Seconds() >= leastOfRound*duration.Seconds()
		if err != nil || enough {
			return f, err
		}
		n *= 2
	}
	return report.Figures{}, fmt.Errorf("%d URIs are used up in less than half of a round", n/2)
}

// needed is how many URIs a round may need.
func (s *series) needed(of *subject, duration time.Duration) int {
	rate, known := s.fastest[of.name]
	switch {
	case of.kind == cold:
		return int(coldRate * s.duration.Seconds())
	case !known:
		rate = guess
	}
	return int(headroom*rate*duration.Seconds()) + 10*s.connections
}

// try prepares a round, runs it, and checks it.
func (s *series) try(ctx context.Context, of *subject, on *server, how wrk.Load, n int) (report.Figures, wrk.Result, error) {
	l, err := s.load(ctx, of, on, n)
	if err != nil {
		return report.Figures{}, wrk.Result{}, err
	}
	l.Connections, l.Duration = how.Connections, how.Duration
	if err := proc.ResetPeak(on.PIDs()); err != nil {
		return report.Figures{}, wrk.Result{}, err
	}
	syscall.Sync() // what others have written the kernel writes now, and not while this one waits for its own
	before, err := proc.Measure(on.PIDs())
	if err != nil {
		return report.Figures{}, wrk.Result{}, err
	}
	profiled := s.profiling(ctx, of, on, l.Duration)
	r, err := s.wrk.Run(ctx, l)
	if err := errors.Join(err, profiled()); err != nil {
		return report.Figures{}, r, err
	}
	after, err := proc.Measure(on.PIDs())
	if err == nil {
		err = errors.Join(of.expected(r), on.Alive())
	}
	if err == nil {
		err = s.confirm(ctx, of, l)
	}
	if err != nil {
		return report.Figures{}, r, err
	}
	done := r.Requests * of.operations()
	if of.kind == conversation {
		done = r.Posted
	}
	if of.stores {
		on.actions += done
	}
	perSecond := float64(done) / r.Took.Seconds()
	s.fastest[of.name] = max(s.fastest[of.name], float64(r.Requests)/r.Took.Seconds())
	return report.Figures{
		PerSecond: perSecond, CPU: (after.CPU - before.CPU) / time.Duration(done), P50: r.P50, P99: r.P99, Peak: after.Peak,
	}, r, nil
}

// expected checks what wrk has counted.
func (s *subject) expected(r wrk.Result) error {
	above := 0
	if s.want >= http.StatusBadRequest {
		above = r.Requests
	}
	switch {
	case r.Above399 != above:
		return fmt.Errorf("%d of %d answers were 400 and above, not %d", r.Above399, r.Requests, above)
	case s.kind == conversation && (r.Posted == 0 || r.Minted < r.Posted):
		return fmt.Errorf("%d URIs were minted and %d used", r.Minted, r.Posted)
	}
	return nil
}

// newKey is an idempotency key as Fiber's middleware wants it, a UUID.
func (b *bench) newKey() string {
	var k [16]byte
	_, _ = rand.Read(k[:]) // never fails
	h := hex.EncodeToString(k[:])
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:]
}
