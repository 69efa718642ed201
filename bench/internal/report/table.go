package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Table writes the rows of one number of connections, in Markdown.
func (r Rows) Table(w io.Writer, connections int) {
	say(w, "| %d connections | requests/s | ratio | server CPU µs | ratio | p50 ms | p99 ms | memory MiB | disk bytes |\n", connections)
	say(w, "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, row := range r {
		switch {
		case row.Connections != connections:
		case row.Missing != "":
			say(w, "| %s | missing: %s | | | | | | | |\n", row.Name, row.Missing)
		default:
			requests, time := "", ""
			if base, ok := r.Find(row.Base, connections); ok {
				requests = fmt.Sprintf("%.2f", row.Against(base, perSecond))
				time = fmt.Sprintf("%.2f", row.Against(base, cpu))
			}
			say(w, "| %s | %.0f | %s | %s | %s | %s | %s | %d | %s |\n", row.Name, row.PerSecond, requests, micros(row.CPU), time,
				millis(row.P50), millis(row.P99), row.Peak>>20, disk(row.Disk))
		}
	}
}

// A Goal compares two rows.
type Goal struct {
	What          string
	Row, Base     string
	CPU           bool    // compares the CPU time, of which less is better; otherwise operations a second
	AtLeast, Best float64 // the least that must be reached, and the aim
}

// Goals writes what was to be reached, and what was, in Markdown.
func (r Rows) Goals(w io.Writer, goals []Goal, connections int) {
	say(w, "| at %d connections | at least | aim | measured | |\n|---|---:|---:|---:|---|\n", connections)
	for _, g := range goals {
		sign := ""
		if g.CPU {
			sign = "≤ "
		}
		say(w, "| %s | %s%.2f × | %s%.2f × | %s |\n", g.What, sign, g.AtLeast, sign, g.Best, r.reached(g, connections))
	}
}

// reached returns the last two columns of a goal.
func (r Rows) reached(g Goal, connections int) string {
	row, ok1 := r.Find(g.Row, connections)
	base, ok2 := r.Find(g.Base, connections)
	if !ok1 || !ok2 {
		return "not measured | "
	}
	got := row.Against(base, perSecond)
	missed, below := got < g.AtLeast, got < g.Best
	if g.CPU {
		got = row.Against(base, cpu)
		missed, below = got > g.AtLeast, got > g.Best
	}
	return fmt.Sprintf("%.2f × | %s", got, verdict(missed, below))
}

func verdict(missed, below bool) string {
	switch {
	case missed:
		return "**missed**"
	case below:
		return "reached"
	default:
		return "aim reached"
	}
}

// Paced is a run at a fixed rate.
type Paced struct {
	Name     string
	At       float64 // requests a second that were asked for
	Answered float64 // that were answered
	P50, P99 time.Duration
}

// PacedTable writes the runs at fixed rates, in Markdown.
func PacedTable(w io.Writer, runs []Paced) {
	say(w, "| at a fixed rate | requests/s | answered/s | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|\n")
	for _, p := range runs {
		say(w, "| %s | %.0f | %.0f | %s | %s |\n", p.Name, p.At, p.Answered, millis(p.P50), millis(p.P99))
	}
}

// PacedGoal writes whether the p99 of a row is at most twice that of the base at the same rate, and two syncs.
func PacedGoal(w io.Writer, of, base Paced, sync time.Duration) {
	limit := 2*base.P99 + 2*sync
	say(w, "p99 of %s at %.0f requests/s: %s ms; at most 2 × %s (%s ms) + 2 syncs (%s ms each) = %s ms: %s.\n", of.Name, of.At, millis(of.P99), base.Name,
		millis(base.P99), millis(sync), millis(limit), verdict(of.P99 > limit, true))
}

func micros(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Nanoseconds())/1e3) }
func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Nanoseconds())/1e6) }

func disk(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// say writes to a buffer or a terminal, whose errors nobody can act on.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// Markers of the part of a page that is written by the bench.
const (
	begin = "<!-- bench-peers -->\n"
	end   = "<!-- /bench-peers -->\n"
)

// Insert replaces what is between the markers of a page. A page without them is an error.
func Insert(page, text string) (string, error) {
	head, rest, ok1 := strings.Cut(page, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("the page has no lines %q and %q in this order", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return head + begin + text + end + tail, nil
}
