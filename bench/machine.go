package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// machine says what all of it was measured on.
func (b *bench) machine(ctx context.Context) string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // what cannot be read is not said
	commit, _ := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty").Output()
	return fmt.Sprintf("%d cores of %s, %s of memory, Linux %s, %s; poe at commit %s; %s.", runtime.NumCPU(), field("/proc/cpuinfo", "model name"),
		field("/proc/meminfo", "MemTotal"), bytes.TrimSpace(kernel), runtime.Version(), bytes.TrimSpace(commit), b.clock().UTC().Format(time.DateOnly))
}

// field finds the first "name: value" of a file in /proc.
func field(file, name string) string {
	text, _ := os.ReadFile(file) //nolint:gosec // two files in /proc
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

const (
	syncs    = 200
	syncSize = 4 << 10
)

// syncTime returns how long it takes to append 4 KiB to a file in the folder and make them durable, at the median.
func (b *bench) syncTime(folder string) (_ time.Duration, err error) {
	f, err := os.Create(filepath.Join(folder, "sync")) //nolint:gosec // in our own folder
	if err != nil {
		return 0, fmt.Errorf("measuring a sync: %w", err)
	}
	defer func() { _ = f.Close() }()
	block, took := make([]byte, syncSize), make([]time.Duration, syncs)
	for i := range took {
		began := b.clock()
		if _, err := f.Write(block); err != nil {
			return 0, fmt.Errorf("measuring a sync: %w", err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("measuring a sync: %w", err)
		}
		took[i] = b.clock().Sub(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
