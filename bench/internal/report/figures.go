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
	Figures
	Disk    int64  // bytes for one action, over all rounds; 0: it keeps nothing
	Missing string // why it was not measured
}

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
