package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Machine says what all of it was measured on, and which state of the repository at root, at that time.
func Machine(ctx context.Context, root string, now time.Time) string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")                                               // what cannot be read is not said
	commit, _ := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty").Output() //nolint:gosec // the folder that we are in
	return fmt.Sprintf("%d cores of %s, %s of memory, Linux %s, %s; poe at commit %s; %s.", runtime.NumCPU(), field("/proc/cpuinfo", "model name"),
		field("/proc/meminfo", "MemTotal"), bytes.TrimSpace(kernel), runtime.Version(), bytes.TrimSpace(commit), now.UTC().Format(time.DateOnly))
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
