package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postonce/poe/bench/internal/paced"
	"github.com/postonce/poe/bench/internal/peers"
	"github.com/postonce/poe/bench/internal/report"
)

// pacedRate is a rate at which all are measured: half of the peak of one of them.
type pacedRate struct {
	of   string
	rate float64
	runs []report.Paced
}

// paced measures the proxies and the gateway at half of the gateway's peak, and at half of the plain proxy's.
func (b *bench) paced(ctx context.Context, rows report.Rows, all []subject) ([]pacedRate, error) {
	var rates []pacedRate
	for _, of := range []string{gatewayFirst, reverseProxy} {
		row, ok := rows.Find(of, b.compared())
		if !ok {
			continue
		}
		r := pacedRate{of: of, rate: row.PerSecond / 2}
		all := slices.DeleteFunc(slices.Clone(all), func(s subject) bool { return !s.proxied })
		if err := b.pace(ctx, &r, all); err != nil {
			return nil, fmt.Errorf("at half of the peak of %s: %w", of, err)
		}
		rates = append(rates, r)
	}
	return rates, nil
}

// pace runs the rounds at one rate, interleaved.
func (b *bench) pace(ctx context.Context, r *pacedRate, all []subject) error {
	rounds := map[string][]report.Figures{}
	for round := range b.rounds {
		for _, s := range all {
			f, err := b.pacedRound(ctx, &s, r.rate)
			if errors.Is(err, peers.ErrMissing) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			_, _ = fmt.Fprintf(b.progress, "%.0f/s, round %d: %s: p99 %s\n", r.rate, round, s.name, f.P99)
			rounds[s.name] = append(rounds[s.name], f)
		}
	}
	for _, s := range all {
		if rounds[s.name] == nil {
			continue // said to be missing in the other tables
		}
		m := report.Median(rounds[s.name])
		r.runs = append(r.runs, report.Paced{Name: s.name, At: r.rate, Answered: m.PerSecond, P50: m.P50, P99: m.P99})
	}
	return nil
}

// pacedRound runs one round of a subject.
func (b *bench) pacedRound(ctx context.Context, s *subject, rate float64) (report.Figures, error) {
	on, err := b.servers.get(ctx, s.server)
	if err != nil {
		return report.Figures{}, err
	}
	n := max(1, int(rate*b.duration.Seconds()))
	targets := longTargets(n)
	if s.kind == first {
		if targets, err = b.mint(ctx, on.URL, n); err != nil {
			return report.Figures{}, err
		}
	}
	r, err := paced.Run(ctx, paced.Load{
		Host: strings.TrimPrefix(on.URL, "http://"), Targets: targets, Body: orderBody, Want: http.StatusCreated,
		Connections: pacedConnections, PerSecond: rate, Clock: b.clock,
	})
	if s.stores {
		on.actions += n
	}
	return report.Figures{PerSecond: r.PerSecond, P50: r.P50, P99: r.P99}, err
}

// find returns the run of a subject.
func (r *pacedRate) find(name string) (report.Paced, bool) {
	i := slices.IndexFunc(r.runs, func(p report.Paced) bool { return p.Name == name })
	if i < 0 {
		return report.Paced{}, false
	}
	return r.runs[i], true
}

// lateness is how much slower than asked an open load may be answered before its figures mean nothing.
const lateness = 0.95

// kept says whether the server kept up with the rate. One that does not has a queue that grows, and a p99 of any size.
func kept(p report.Paced) bool { return p.Answered >= lateness*p.At }

// pacedText writes the paced runs and their goal.
func pacedText(rates []pacedRate, sync time.Duration) string {
	var t strings.Builder
	for _, r := range rates {
		_, _ = fmt.Fprintf(&t, "Half of the peak of %s:\n\n", r.of)
		report.PacedTable(&t, r.runs)
		t.WriteByte('\n')
		for _, p := range r.runs {
			if !kept(p) {
				_, _ = fmt.Fprintf(&t, "**%s did not keep up**: its times grew with the length of the run.\n\n", p.Name)
			}
		}
		of, ok := r.find(gatewayFirst)
		for _, base := range []string{reverseProxy, caddy} {
			if b, found := r.find(base); ok && found && kept(of) && kept(b) {
				report.PacedGoal(&t, of, b, sync)
				t.WriteByte('\n')
			}
		}
	}
	if len(rates) == 0 {
		t.WriteString("Not measured at a fixed rate: neither the gateway nor the plain proxy was measured.\n\n")
	}
	return t.String()
}
