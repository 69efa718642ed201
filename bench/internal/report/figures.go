// Package report turns what was measured into tables and a plot.
package report

import (
	"cmp"
	"slices"
	"time"
)

// Figures are what one round of a subject showed, or the medians of several.
type Figures struct {
	PerSecond float64       // operations
	CPU       time.Duration // of the server's processes, for one operation
	P50, P99  time.Duration // of a request
	Peak      int64         // bytes of resident memory
}

// Median takes the median of each figure by itself.
func Median(rounds []Figures) Figures {
	return Figures{
		PerSecond: Middle(rounds, func(f Figures) float64 { return f.PerSecond }),
		CPU:       Middle(rounds, func(f Figures) time.Duration { return f.CPU }),
		P50:       Middle(rounds, func(f Figures) time.Duration { return f.P50 }),
		P99:       Middle(rounds, func(f Figures) time.Duration { return f.P99 }),
		Peak:      Middle(rounds, func(f Figures) int64 { return f.Peak }),
	}
}

// Middle returns the middle one of what of finds in all rounds, of an even number the lower of the two in the middle.
func Middle[R any, T cmp.Ordered](rounds []R, of func(R) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// Row is a subject under one number of connections.
type Row struct {
	Name        string
	Base        string // the row whose figures are 1; "": none
	Connections int
	Figures               // the medians of the rounds
	Rounds      []Figures // in their order, which is that of all rows
	Disk        int64     // bytes for one action, over all rounds; 0: it keeps nothing
	Missing     string    // why it was not measured
}

// Against returns what a figure is in parts of the base's: the median of what it was in each round. A machine that is slow for a while is slow for
// both of a round, mostly, and not for both medians.
func (r Row) Against(base Row, of func(Figures) float64) float64 {
	pairs := make([]float64, 0, len(r.Rounds))
	for i := range min(len(r.Rounds), len(base.Rounds)) {
		pairs = append(pairs, of(r.Rounds[i])/of(base.Rounds[i]))
	}
	if len(pairs) == 0 {
		return 0
	}
	return Middle(pairs, func(p float64) float64 { return p })
}

func perSecond(f Figures) float64 { return f.PerSecond }
func cpu(f Figures) float64       { return float64(f.CPU) }

// Rows are all that was measured.
type Rows []Row

// Find returns a subject under a number of connections.
func (r Rows) Find(name string, connections int) (Row, bool) {
	for _, row := range r {
		if row.Name == name && row.Connections == connections && row.Missing == "" {
			return row, true
		}
	}
	return Row{}, false
}
