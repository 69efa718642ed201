package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildPOE builds the program that is measured.
func buildPOE(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "poe")
	build := exec.CommandContext(t.Context(), "go", "build", "-pgo=off", "-o", binary, "./cmd/poe")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// The whole of it on small ledgers: what it finds is possible.
func TestGrowth(t *testing.T) {
	p := plan{
		sizes: []int{500, 3000}, perDay: 2000, rounds: 2, requests: 300, connections: 8,
		binary: buildPOE(t), dir: t.TempDir(), clock: time.Now,
	}
	m, err := p.measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.sizes) != 2 {
		t.Fatalf("%d sizes were measured", len(m.sizes))
	}
	for i, s := range m.sizes {
		if s.size != p.sizes[i] || len(s.posts) != p.rounds || len(s.outcomes) != p.rounds || s.consumed != p.rounds*p.requests {
			t.Errorf("%d actions, %d and %d rounds, %d POSTs", s.size, len(s.posts), len(s.outcomes), s.consumed)
		}
		for _, f := range []figures{medians(s.posts), medians(s.outcomes)} {
			if f.perSecond < 10 || f.p50 <= 0 || f.p50 > f.p99 || f.p99 > time.Minute {
				t.Errorf("on %d actions: %+v", s.size, f)
			}
		}
		if s.started <= 0 || s.restarted <= 0 || s.started > startLimit || s.restarted > startLimit {
			t.Errorf("on %d actions it starts in %s, and after a kill in %s", s.size, s.started, s.restarted)
		}
		if s.end < 5<<20 || s.peak < s.end-1<<20 || s.peak > memoryGoal {
			t.Errorf("on %d actions it takes %d MiB, %d at the most", s.size, s.end>>20, s.peak>>20)
		}
		if s.files < 5 || s.files > 1000 {
			t.Errorf("on %d actions %d files are open", s.size, s.files)
		}
		if s.compact < 80 || s.compact > 300 || s.asIs < s.compact {
			t.Errorf("on %d actions each takes %d bytes, and %d before that", s.size, s.compact, s.asIs)
		}
	}
	if m.kinds[0].each >= m.kinds[1].each || m.kinds[0].each < 80 {
		t.Errorf("an action takes %d bytes on disk, and one with a key %d", m.kinds[0].each, m.kinds[1].each)
	}
	if f := m.sweep; f.records != p.perDay || f.steps < 2 || f.longest > f.took || f.before <= 0 || f.among <= 0 {
		t.Errorf("a sweep of %d actions: %+v", p.perDay, f)
	}

	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("# Page\n\n"+mark+markEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := p.text(t.Context(), m)
	for _, text := range []string{"old\n", text} {
		if err := insert(page, text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if want := "# Page\n\n" + mark + "\n" + text + "\n" + markEnd + "\nafter\n"; err != nil || string(got) != want {
		t.Errorf("the page is %q, %v", got, err)
	}
	if n := strings.Count(text, "\n| "); n < 20 {
		t.Errorf("%d lines of tables in\n%s", n, text)
	}
}

func TestInsertNeedsBothMarks(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	for _, text := range []string{"", mark, markEnd, markEnd + mark} {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := insert(page, "new"); err == nil {
			t.Errorf("a page with %q was written", text)
		}
	}
}
