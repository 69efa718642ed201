package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/bench/internal/report"
)

// rows are of a machine that was half as fast in the last round, and in the one before it for the second row alone: by the medians that would have 0.65 of the requests.
func rows() report.Rows {
	round := func(perSecond float64, cpu time.Duration) report.Figures {
		return report.Figures{PerSecond: perSecond, CPU: cpu * time.Microsecond, P50: time.Millisecond, P99: 9 * time.Millisecond, Peak: 5 << 20}
	}
	base := []report.Figures{round(1000, 100), round(1000, 100), round(500, 200)}
	poe := []report.Figures{round(1300, 60), round(650, 120), round(650, 120)}
	return report.Rows{
		{Name: "base", Connections: 64, Figures: report.Median(base), Rounds: base},
		{Name: "poe", Base: "base", Connections: 64, Disk: 190, Figures: report.Median(poe), Rounds: poe},
		{Name: "gone", Base: "base", Connections: 64, Missing: "not installed"},
		{Name: "poe", Base: "base", Connections: 1, Figures: report.Figures{PerSecond: 10}},
	}
}

func TestMedian(t *testing.T) {
	got := report.Median([]report.Figures{
		{PerSecond: 3, CPU: 1, P50: 2, P99: 9, Peak: 1}, {PerSecond: 1, CPU: 2, P50: 3, P99: 8, Peak: 3}, {PerSecond: 2, CPU: 3, P50: 1, P99: 7, Peak: 2},
	})
	if diff := cmp.Diff(report.Figures{PerSecond: 2, CPU: 2, P50: 2, P99: 8, Peak: 2}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	rows().Table(&b, 64)
	want := `| 64 connections | requests/s | ratio | server CPU µs | ratio | p50 ms | p99 ms | memory MiB | disk bytes |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
| base | 1000 |  | 100.0 |  | 1.00 | 9.00 | 5 |  |
| poe | 650 | 1.30 | 120.0 | 0.60 | 1.00 | 9.00 | 5 | 190 |
| gone | missing: not installed | | | | | | | |
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestGoals(t *testing.T) {
	var b strings.Builder
	rows().Goals(&b, []report.Goal{
		{What: "fast", Row: "poe", Base: "base", AtLeast: 1.25, Best: 1.5},
		{What: "faster", Row: "poe", Base: "base", AtLeast: 1.1, Best: 1.2},
		{What: "fastest", Row: "poe", Base: "base", AtLeast: 1.4, Best: 1.5},
		{What: "cheap", Row: "poe", Base: "base", CPU: true, AtLeast: 0.7, Best: 0.5},
		{What: "cheapest", Row: "poe", Base: "base", CPU: true, AtLeast: 0.5, Best: 0.4},
		{What: "against what is missing", Row: "poe", Base: "gone", AtLeast: 1, Best: 1},
	}, 64)
	want := `| at 64 connections | at least | aim | measured | |
|---|---:|---:|---:|---|
| fast | 1.25 × | 1.50 × | 1.30 × | reached |
| faster | 1.10 × | 1.20 × | 1.30 × | aim reached |
| fastest | 1.40 × | 1.50 × | 1.30 × | **missed** |
| cheap | ≤ 0.70 × | ≤ 0.50 × | 0.60 × | reached |
| cheapest | ≤ 0.50 × | ≤ 0.40 × | 0.60 × | **missed** |
| against what is missing | 1.00 × | 1.00 × | not measured |  |
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPacedGoal(t *testing.T) {
	of := report.Paced{Name: "poe", At: 100, P99: 5 * time.Millisecond}
	base := report.Paced{Name: "proxy", At: 100, P99: 2 * time.Millisecond}
	for sync, want := range map[time.Duration]string{500 * time.Microsecond: "5.00 ms: reached", 400 * time.Microsecond: "4.80 ms: **missed**"} {
		var b strings.Builder
		report.PacedGoal(&b, of, base, sync)
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q does not say %q", b.String(), want)
		}
	}
}

func TestInsert(t *testing.T) {
	got, err := report.Insert("above\n<!-- bench-peers -->\nold\n<!-- /bench-peers -->\nbelow\n", "new\n")
	if want := "above\n<!-- bench-peers -->\nnew\n<!-- /bench-peers -->\nbelow\n"; got != want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, page := range []string{"", "<!-- bench-peers -->\n", "<!-- /bench-peers -->\n<!-- bench-peers -->\n"} {
		if got, err := report.Insert(page, "new\n"); err == nil {
			t.Errorf("%q became %q", page, got)
		}
	}
}

func TestPlot(t *testing.T) {
	var b strings.Builder
	all := func(string) bool { return true }
	if err := rows().Plot(&b, []string{"base", "poe", "gone"}, []int{1, 64}, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", ">base<", ">poe<", ">64<"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the plot has no %q", want)
		}
	}
	if strings.Contains(b.String(), ">gone<") {
		t.Error("the plot has a line for what was not measured")
	}
	if err := rows().Plot(&b, []string{"gone"}, []int{1, 64}, all); err == nil {
		t.Error("an empty plot was drawn")
	}
}
