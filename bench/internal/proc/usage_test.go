package proc_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/bench/internal/proc"
)

func TestParseStat(t *testing.T) {
	rest := " S 7 42 42 0 -1 4194560 900 80 0 0 100 20 3 4 20 0 5 0 1234 999 88"
	tests := []struct {
		name, text string
		want       proc.Stat
		fails      bool
	}{
		{"own and children's time, user and system", "42 (nginx)" + rest, proc.Stat{Parent: 7, CPU: 1270 * time.Millisecond}, false},
		{"a name with spaces and parentheses", "42 (a) S 9 (b c)" + rest, proc.Stat{Parent: 7, CPU: 1270 * time.Millisecond}, false},
		{"cut off", "42 (nginx) S 7 42 42 0 -1", proc.Stat{}, true},
		{"no name", "42 nginx S", proc.Stat{}, true},
		{"no number", "42 (nginx)" + strings.Replace(rest, " 100 ", " x ", 1), proc.Stat{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := proc.ParseStat([]byte(tt.text))
			if tt.fails != (err != nil) {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParsePeak(t *testing.T) {
	tests := []struct {
		name, text string
		want       int64
		fails      bool
	}{
		{"in KiB", "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n", 2 << 20, false},
		{"a zombie has none", "Name:\tx\nState:\tZ (zombie)\n", 0, false},
		{"another unit", "VmHWM:\t 2048 MB\n", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := proc.ParsePeak([]byte(tt.text))
			if got != tt.want || tt.fails != (err != nil) {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
}

// The time of a child that has ended, and of one that runs, is that of the process that was asked for.
func TestMeasureCountsDescendants(t *testing.T) {
	const burn = `i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done`
	ready := filepath.Join(t.TempDir(), "ready")
	script := "trap 'kill $!; exit' TERM; (" + burn + "); (" + burn + "; : >" + ready + "; exec sleep 60) & wait"
	p, err := proc.Start(proc.Spec{Name: "shell", Path: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	deadline := time.Now().Add(30 * time.Second)
	for {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the shell is not ready")
		}
		<-time.NewTimer(5 * time.Millisecond).C
	}
	all, err := proc.Measure([]int{p.PID()})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("/proc", itoa(p.PID()), "stat"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := proc.ParseStat(text)
	if err != nil {
		t.Fatal(err)
	}
	if own.CPU == 0 || all.CPU <= own.CPU {
		t.Errorf("all %s, the shell and its ended child %s", all.CPU, own.CPU)
	}
	if all.Peak == 0 {
		t.Error("no memory")
	}
	if err := proc.ResetPeak([]int{p.PID()}); err != nil {
		t.Error(err)
	}
}

func TestMeasureOfAProcessThatIsGone(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if u, err := proc.Measure([]int{cmd.Process.Pid}); err == nil {
		t.Errorf("it was measured: %v", u)
	}
}

func TestDiskUse(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "b", "full"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hole"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "hole"), 1<<30); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "a", "b", "full"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // so that its blocks are given out
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "reserve"), make([]byte, 9000), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := proc.DiskUse(dir, "reserve"); n != 5000 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}
