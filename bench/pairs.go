package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/postonce/poe/bench/internal/report"
)

// A pair are two rounds of a subject, of another revision and of this one, one right after the other: whatever else the machine does at that
// time meets both.
type pair struct{ other, this report.Figures }

// compare measures rows of this revision and of another one in pairs of rounds, and prints the ratios. The folder has the programs of the other
// one, bench and poe.
func compare(ctx context.Context, out io.Writer, p plan, folder, against string) (err error) {
	this, err := open(ctx, p, folder, "")
	if err != nil {
		return err
	}
	other := *this
	other.servers = this.servers.apart()
	for file, to := range map[string]*string{"bench": &other.servers.host.Self, "poe": &other.servers.host.Poe} {
		if *to, err = filepath.Abs(filepath.Join(against, file)); err != nil {
			return fmt.Errorf("finding the other programs: %w", err)
		}
		if _, err := os.Stat(*to); err != nil {
			return fmt.Errorf("finding the other programs: %w", err)
		}
	}
	defer func() {
		for _, b := range []*bench{this, &other} {
			_, stopped := b.servers.stop()
			err = errors.Join(err, stopped)
		}
	}()
	all := p.chosen()
	for _, c := range p.connections {
		pairs, err := inPairs(ctx, all, this.series(c), other.series(c))
		if err != nil {
			return fmt.Errorf("%d connections: %w", c, err)
		}
		if err := write(out, all, pairs, c, p.duration); err != nil {
			return err
		}
	}
	return nil
}

// inPairs runs the rounds, after one of each that does not count. Which of a pair is first changes from round to round.
func inPairs(ctx context.Context, all []subject, this, other *series) (map[string][]pair, error) {
	pairs := map[string][]pair{}
	for round := range this.plan.rounds + 1 {
		for _, s := range all {
			var p pair
			runs := []struct {
				of   *series
				into *report.Figures
			}{{other, &p.other}, {this, &p.this}}
			if round%2 == 1 {
				slices.Reverse(runs)
			}
			for _, r := range runs {
				var err error
				if *r.into, err = r.of.round(ctx, &s, this.duration); err != nil {
					return nil, fmt.Errorf("%s: %w", s.name, err)
				}
			}
			if round > 0 {
				pairs[s.name] = append(pairs[s.name], p)
			}
		}
	}
	return pairs, nil
}

// write prints the medians of the ratios, and the quartiles that they lie between.
func write(out io.Writer, all []subject, pairs map[string][]pair, connections int, d time.Duration) error {
	_, err := fmt.Fprintf(out, "\n| %d connections, this against the other | pairs of %s | requests/s | quartiles | server CPU | quartiles |\n|---|---:|---:|---:|---:|---:|\n", connections, d)
	for _, s := range all {
		of := pairs[s.name]
		rate := quartiles(of, func(p pair) float64 { return p.this.PerSecond / p.other.PerSecond })
		cpu := quartiles(of, func(p pair) float64 { return float64(p.this.CPU) / float64(p.other.CPU) })
		_, more := fmt.Fprintf(out, "| %s | %d | %.3f | %.3f to %.3f | %.3f | %.3f to %.3f |\n", s.name, len(of), rate[1], rate[0], rate[2], cpu[1], cpu[0], cpu[2])
		err = errors.Join(err, more)
	}
	if err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func quartiles(of []pair, ratio func(pair) float64) (q [3]float64) {
	all := make([]float64, len(of))
	for i, p := range of {
		all[i] = ratio(p)
	}
	slices.Sort(all)
	for i := range q {
		q[i] = all[(len(all)-1)*(i+1)/4]
	}
	return q
}
