package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postonce/poe/bench/internal/peers"
	"github.com/postonce/poe/bench/internal/report"
	"github.com/postonce/poe/bench/internal/wrk"
)

// The servers are this program, started again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-serve" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := run(ctx, io.Discard, os.Args[1:])
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// ofGo are the rows that need nothing beyond Go.
var ofGo = regexp.MustCompile(`^(bare|httputil|poe|floor|Fiber's middleware, in memory)`)

// smoke opens a bench with short rounds. That takes minutes, so it is left out when time is short, and where wrk is missing.
func smoke(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes minutes: go test without -short, or make bench-peers ARGS=-short")
	}
	p := plan{connections: []int{8}, rounds: 1, duration: 200 * time.Millisecond, only: ofGo, short: true}
	b, err := open(t.Context(), p, t.TempDir(), "")
	if errors.Is(err, wrk.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.progress = io.Discard
	t.Cleanup(func() {
		if _, err := b.servers.stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestSmoke(t *testing.T) {
	b := smoke(t)
	all := slices.DeleteFunc(subjects(), func(s subject) bool { return !ofGo.MatchString(s.name) })
	rows, err := b.measure(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if row, ok := rows.Find(s.name, 8); !ok || row.PerSecond <= 0 || row.P99 <= 0 || row.Peak <= 0 {
			t.Errorf("%s: %+v", s.name, row)
		}
	}
	text := b.text(t.Context(), measured{rows: rows}, []string{"-short"})
	for _, want := range []string{"`cd bench && go run . -short`", "| poe gateway: first POST | ", "| gateway, first POST, against Caddy: requests a second | 1.25 × | 1.50 × | not measured |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
}

// A round whose answers are not those that its row is about is not a figure.
func TestWrongStatusesAreErrors(t *testing.T) {
	b := smoke(t)
	s := b.series(4)
	tests := []struct {
		name string
		of   subject
		want string
	}{
		{"405s counted as executions", subject{name: "a", server: "embedded", kind: refused, want: http.StatusCreated}, "were 400 and above, not 0"},
		{"executions counted as 405s", subject{name: "b", server: "embedded", kind: first, want: http.StatusMethodNotAllowed}, "were 400 and above, not"},
		{"another status below 400", subject{name: "c", server: "bare", kind: plain, want: http.StatusOK}, "was answered 201"},
		{"keys that are not looked at", subject{name: "d", server: "bare", kind: first, want: http.StatusCreated}, "minting"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.round(t.Context(), &tt.of, b.duration)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// URIs that are used up at once are minted again, twice as many, and at last an error.
func TestUsedUpTooEarly(t *testing.T) {
	b := smoke(t)
	b.short = false
	s := series{bench: b, connections: 1, fastest: map[string]float64{"few": 0.001}, rounds: map[string][]report.Figures{}}
	_, err := s.round(t.Context(), &subject{name: "few", server: "embedded", kind: first, want: http.StatusCreated}, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "used up in less than half") {
		t.Errorf("got %v", err)
	}
}

func TestMissingPeersAreSaid(t *testing.T) {
	b := smoke(t)
	b.servers.host.Modules = t.TempDir()
	all := slices.DeleteFunc(subjects(), func(s subject) bool { return s.server != "restate" })
	rows, err := b.measure(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	text := b.text(t.Context(), measured{rows: rows}, nil)
	for _, want := range []string{"| Restate: keyed POST | missing: ", "| restate | **missing** | "} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	if !errors.Is(b.servers.missing["restate"], peers.ErrMissing) {
		t.Errorf("got %v", b.servers.missing["restate"])
	}
}

func TestWithoutWrk(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	err := run(t.Context(), &out, []string{"-short"})
	if !errors.Is(err, wrk.ErrMissing) || out.Len() != 0 {
		t.Errorf("got %v and %q", err, &out)
	}
}

// Two of the same kind differ by what the machine does meanwhile, and are both measured.
func TestComparingRevisions(t *testing.T) {
	b := smoke(t)
	other := t.TempDir()
	for file, program := range map[string]string{"bench": b.servers.host.Self, "poe": b.servers.host.Poe} {
		if err := os.Symlink(program, filepath.Join(other, file)); err != nil {
			t.Fatal(err)
		}
	}
	p := plan{connections: []int{8}, rounds: 2, duration: 200 * time.Millisecond, only: regexp.MustCompile("first POST"), short: true}
	var out bytes.Buffer
	if err := compare(t.Context(), &out, p, t.TempDir(), other); err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| poe (gateway|embedded): first POST \| 2 \| \d+\.\d{3} \| \d+\.\d{3} to \d+\.\d{3} \| \d+\.\d{3} \| `)
	if n := len(row.FindAllString(out.String(), -1)); n != 2 || !strings.Contains(out.String(), "| pairs of 200ms |") {
		t.Errorf("%d rows:\n%s", n, &out)
	}
	if err := compare(t.Context(), &out, p, t.TempDir(), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the programs: %v", err)
	}
}

func TestQuartiles(t *testing.T) {
	var of []pair
	for _, n := range []float64{5, 1, 4, 2, 3} {
		of = append(of, pair{this: report.Figures{PerSecond: n}, other: report.Figures{PerSecond: 2}})
	}
	got := quartiles(of, func(p pair) float64 { return p.this.PerSecond / p.other.PerSecond })
	if want := [3]float64{1, 1.5, 2}; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The paced runs need no wrk.
func TestPacedRuns(t *testing.T) {
	if _, err := exec.LookPath("make"); err != nil {
		t.Fatal(err) // the project needs it
	}
	b, err := opened(t.Context(), plan{connections: []int{8}, rounds: 1, duration: 200 * time.Millisecond, only: ofGo, short: true}, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	b.progress = io.Discard
	t.Cleanup(func() {
		if _, err := b.servers.stop(); err != nil {
			t.Error(err)
		}
	})
	rows := report.Rows{
		{Name: gatewayFirst, Connections: 8, Figures: report.Figures{PerSecond: 200}}, {Name: reverseProxy, Connections: 8, Figures: report.Figures{PerSecond: 400}},
	}
	all := slices.DeleteFunc(subjects(), func(s subject) bool { return !ofGo.MatchString(s.name) })
	rates, err := b.paced(t.Context(), rows, all)
	if err != nil {
		t.Fatal(err)
	}
	for i, rate := range []float64{100, 200} {
		if len(rates) != 2 || len(rates[i].runs) != 2 || rates[i].runs[0].At != rate || rates[i].runs[1].P99 <= 0 {
			t.Fatalf("got %+v", rates)
		}
	}
	if text := pacedText(rates, time.Millisecond); !strings.Contains(text, "p99 of poe gateway: first POST at 100 requests/s") {
		t.Errorf("got %s", text)
	}
}
