package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postonce/poe/bench/internal/report"
)

// measured is all that a run has found out.
type measured struct {
	rows  report.Rows
	rates []pacedRate
	sync  time.Duration
}

// text is the report in Markdown.
func (b *bench) text(ctx context.Context, m measured, args []string) string {
	var t bytes.Buffer
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(&t, format, args...) } // a buffer takes it
	say("`%s`\n\n", strings.TrimSpace("cd bench && go run . "+strings.Join(args, " ")))
	say("%s\n", report.Machine(ctx, root, b.clock()))
	say("Load, application and server share the cores; servers that only wait are stopped meanwhile (of PostgreSQL the first process). Rounds of %s, interleaved, medians of %d at %d connections and of %d at others (of two the lower);\n",
		b.duration, b.rounds, b.compared(), min(b.rounds, forThePlot))
	say("load by %s, its latencies corrected by it for what it did not send while it waited. A sync (4 KiB appended, `fdatasync`) takes %.2f ms at the median.\n\n",
		b.wrk.Version(ctx), float64(m.sync.Microseconds())/1e3)
	m.rows.Goals(&t, goals(), b.compared())
	say("\n%s", pacedText(m.rates, m.sync))
	for _, c := range b.connections {
		m.rows.Table(&t, c)
		say("\n")
	}
	say("CPU time is that of all processes of a server, databases included, application and load generator not. The first ratio of a row is its requests a\n")
	say("second, the second its CPU time, over those of the base, each the median of the ratios of the rounds: the bare application for what is embedded and for Fiber, PostgreSQL and Restate,\n")
	say("`httputil.ReverseProxy` for what stands in front of an application. GET, then POST counts as one. Memory is the sum of the peaks of its\n")
	say("processes, pages that they share counted for each. Disk is what the files of the store\n")
	say("grew by over all rounds, after a stop, logs included, with answers of %d bytes.\n\n", len(orderBody))
	b.peers(&t)
	return t.String()
}

// peers writes what ran, with versions and settings, and what is missing.
func (b *bench) peers(t *bytes.Buffer) {
	t.WriteString("| server | version | settings |\n|---|---|---|\n")
	told := map[string]bool{}
	for _, p := range b.servers.seen {
		line := p.Version + " | " + p.Settings
		if !told[line] {
			_, _ = fmt.Fprintf(t, "| %s | %s |\n", p.Name, line)
		}
		told[line] = true
	}
	for _, name := range slices.Sorted(maps.Keys(b.servers.missing)) {
		_, _ = fmt.Fprintf(t, "| %s | **missing** | %s |\n", name, b.servers.missing[name])
	}
}

// write puts the report into docs/performance.md, and the plot beside it.
func (b *bench) write(m measured, text string) error {
	var names []string
	for _, s := range subjects() {
		if s.line {
			names = append(names, s.name)
		}
	}
	var plot bytes.Buffer
	if err := m.rows.Plot(&plot, names, slices.Sorted(slices.Values(b.connections)), func(name string) bool { return strings.HasPrefix(name, "poe") }); err != nil {
		return err
	}
	page, err := os.ReadFile(performance())
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	filled, err := report.Insert(string(page), "\n"+text+"\n![Throughput over connections](throughput.svg)\n\n")
	if err != nil {
		return fmt.Errorf("%s: %w", performance(), err)
	}
	if err := os.WriteFile(performance(), []byte(filled), 0o644); err != nil { //nolint:gosec // a page of the project
		return fmt.Errorf("writing the page: %w", err)
	}
	if err := os.WriteFile(filepath.Join(root, "docs", "throughput.svg"), plot.Bytes(), 0o644); err != nil { //nolint:gosec // a picture of the project
		return fmt.Errorf("writing the plot: %w", err)
	}
	return nil
}

// performance is the page that the report goes into.
func performance() string { return filepath.Join(root, "docs", "performance.md") }
