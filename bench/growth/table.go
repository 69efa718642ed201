package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/postonce/poe/bench/internal/report"
)

// The goals.
const (
	slowdown   = 1.5 // of the p99 at the largest size, against the one before
	startGoal  = 2 * time.Second
	sweepGoal  = 2 * time.Second
	memoryGoal = 256 << 20
)

// text is the report in Markdown.
func (p *plan) text(ctx context.Context, m measured) string {
	var t bytes.Buffer
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(&t, format, args...) } // a buffer takes it
	say("`%s`\n\n%s\n\n", strings.TrimSpace("cd bench && go run ./growth "+strings.Join(p.args, " ")), report.Machine(ctx, "..", p.clock()))
	say("`poe serve` with default settings on a ledger of consumed actions, %d minted a day, one in %d with a key. %d connections; %d POSTs and up to\n",
		p.perDay, keyedShare, p.connections, p.requests)
	say("%d old outcomes, at random, a round; the sizes in turn, medians of %d rounds.\n\n", p.requests, p.rounds)
	p.sizesTable(&t, m.sizes)
	say("\nDisk is in bytes for an action, without the %d bytes of its answer's body: right after the filling, logs included, and compacted, by kind for %d actions:\n",
		bodySize, m.kinds[0].n)
	for i, k := range m.kinds {
		say("%s%d with %s", map[bool]string{true: "", false: ", "}[i == 0], k.each, map[string]string{"poe": "a POE URI", "key": "a key"}[k.kind])
	}
	f := &m.sweep
	say(".\n\nForgetting a shelf of %d actions in the largest ledger took %s in %d steps, the longest %s ms; the p99 of %d claims a second beside it was %s ms, and %s ms\n",
		f.records, f.took.Round(time.Millisecond), f.steps, millis(f.longest), claimsPerSecond, millis(f.among), millis(f.before))
	say("without it.\n\n")
	m.goals(&t)
	return t.String()
}

func (p *plan) sizesTable(t *bytes.Buffer, subjects []*subject) {
	row := func(what string, of func(s *subject) string) {
		_, _ = fmt.Fprintf(t, "| %s |", what)
		for _, s := range subjects {
			_, _ = fmt.Fprintf(t, " %s |", of(s))
		}
		t.WriteByte('\n')
	}
	row("consumed actions", func(s *subject) string { return fmt.Sprint(s.size) })
	_, _ = fmt.Fprintf(t, "|---|%s\n", strings.Repeat("---:|", len(subjects)))
	row("filled, actions/s", func(s *subject) string { return fmt.Sprintf("%.0f", s.filled) })
	row("start, ms", func(s *subject) string { return millis(s.started) })
	row("start after a kill, ms", func(s *subject) string { return millis(s.restarted) })
	for _, kind := range []struct {
		name string
		of   func(s *subject) figures
	}{
		{"first POST", func(s *subject) figures { return medians(s.posts) }},
		{"old outcome", func(s *subject) figures { return medians(s.outcomes) }},
	} {
		row(kind.name+", requests/s", func(s *subject) string { return fmt.Sprintf("%.0f", kind.of(s).perSecond) })
		row(kind.name+", server CPU µs", func(s *subject) string { return fmt.Sprintf("%.1f", float64(kind.of(s).cpu.Nanoseconds())/1e3) })
		row(kind.name+", p50 ms", func(s *subject) string { return millis(kind.of(s).p50) })
		row(kind.name+", p99 ms", func(s *subject) string { return millis(kind.of(s).p99) })
	}
	row("resident memory, peak MiB", func(s *subject) string { return fmt.Sprint(s.peak >> 20) })
	row("resident memory, at the end MiB", func(s *subject) string { return fmt.Sprint(s.end >> 20) })
	row("open files, connections included", func(s *subject) string { return fmt.Sprint(s.files) })
	row("disk as filled", func(s *subject) string { return fmt.Sprint(s.asIs) })
	row("disk compacted", func(s *subject) string { return fmt.Sprint(s.compact) })
}

// goals writes what was to be reached, and what was.
func (m *measured) goals(t *bytes.Buffer) {
	_, _ = fmt.Fprint(t, "| goal | at most | measured | |\n|---|---:|---:|---|\n")
	line := func(what, atMost, got string, reached bool) {
		verdict := "reached"
		if !reached {
			verdict = "**missed**"
		}
		_, _ = fmt.Fprintf(t, "| %s | %s | %s | %s |\n", what, atMost, got, verdict)
	}
	if n := len(m.sizes); n > 1 {
		before, last := m.sizes[n-2], m.sizes[n-1]
		ratio := float64(medians(last.posts).p99) / float64(medians(before.posts).p99)
		line(fmt.Sprintf("p99 of a first POST at %d against %d", last.size, before.size), fmt.Sprintf("%.1f ×", slowdown), fmt.Sprintf("%.2f ×", ratio), ratio <= slowdown)
	}
	start, peak := time.Duration(0), int64(0)
	for _, s := range m.sizes {
		start, peak = max(start, s.started, s.restarted), max(peak, s.peak)
	}
	line("slowest start", "2 s", fmt.Sprintf("%.2f s", start.Seconds()), start <= startGoal)
	line(fmt.Sprintf("sweep of %d actions", m.sweep.records), "2 s", fmt.Sprintf("%.2f s", m.sweep.took.Seconds()), m.sweep.took <= sweepGoal)
	for _, k := range m.kinds {
		line("disk for an action, door "+k.kind, fmt.Sprint(k.atMost), fmt.Sprint(k.each), k.each <= k.atMost)
	}
	line("peak of resident memory", "256 MiB", fmt.Sprintf("%d MiB", peak>>20), peak <= memoryGoal)
}

// medians takes the median of each figure by itself.
func medians(rounds []figures) figures {
	return figures{
		perSecond: report.Middle(rounds, func(f figures) float64 { return f.perSecond }),
		cpu:       report.Middle(rounds, func(f figures) time.Duration { return f.cpu }),
		p50:       report.Middle(rounds, func(f figures) time.Duration { return f.p50 }),
		p99:       report.Middle(rounds, func(f figures) time.Duration { return f.p99 }),
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Nanoseconds())/1e6) }

// Marks of the part of a page that this bench writes.
const (
	mark    = "<!-- bench-growth -->\n"
	markEnd = "<!-- /bench-growth -->\n"
)

// insert replaces what is between the marks of a page.
func insert(page, text string) error {
	old, err := os.ReadFile(page) //nolint:gosec // the page that was named
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	before, rest, ok := strings.Cut(string(old), mark)
	_, after, closed := strings.Cut(rest, markEnd)
	if !ok || !closed {
		return fmt.Errorf("%s has no lines %q and %q in this order", page, strings.TrimSpace(mark), strings.TrimSpace(markEnd))
	}
	if err := os.WriteFile(page, []byte(before+mark+"\n"+text+"\n"+markEnd+after), 0o644); err != nil { //nolint:gosec // a page of the project
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
