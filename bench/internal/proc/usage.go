package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of /proc/PID/stat: USER_HZ, which Linux fixes at 100 a second for programs.
const tick = 10 * time.Millisecond

// Stat is what /proc/PID/stat says of one process.
type Stat struct {
	Parent int
	CPU    time.Duration // user and system, with that of its children that have ended and were waited for
}

// ParseStat reads the text of /proc/PID/stat (proc_pid_stat(5)). The name of the command, in parentheses, may have anything in it, parentheses too.
func ParseStat(text []byte) (Stat, error) {
	end := bytes.LastIndexByte(text, ')')
	f := strings.Fields(string(text[end+1:]))
	if end < 0 || len(f) < 15 {
		return Stat{}, fmt.Errorf("not a line of /proc/PID/stat: %q", text)
	}
	parent, err := strconv.Atoi(f[1])
	var ticks int64
	for _, s := range f[11:15] { // utime, stime, cutime, cstime
		n, e := strconv.ParseInt(s, 10, 64)
		ticks, err = ticks+n, errors.Join(err, e)
	}
	if err != nil {
		return Stat{}, fmt.Errorf("reading /proc/PID/stat: %w", err)
	}
	return Stat{Parent: parent, CPU: time.Duration(ticks) * tick}, nil
}

// Usage is what some processes, with all their descendants, have used.
type Usage struct {
	CPU  time.Duration
	Peak int64 // bytes of resident memory at the most, since ResetPeak; pages that processes share count for each
}

// Measure adds up what the processes and their descendants have used.
func Measure(roots []int) (Usage, error) {
	var u Usage
	err := each(roots, func(pid int, s Stat) error {
		peak, err := peak(pid)
		u.CPU, u.Peak = u.CPU+s.CPU, u.Peak+peak
		return err
	})
	return u, err
}

// ResetPeak begins the count of resident memory anew (proc_pid_clear_refs(5)). Where that is not allowed, the peak since the start of a process counts.
func ResetPeak(roots []int) error {
	return each(roots, func(pid int, _ Stat) error {
		err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return err
	})
}

// each calls f for the processes and their descendants. One that ends meanwhile is left out: its parent has its time.
func each(roots []int, f func(pid int, s Stat) error) error {
	stats, err := all()
	if err != nil {
		return err
	}
	for pid, s := range stats {
		if !descends(stats, pid, roots) {
			continue
		}
		if err := f(pid, s); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("measuring process %d: %w", pid, err)
		}
	}
	for _, pid := range roots {
		if _, ok := stats[pid]; !ok {
			return fmt.Errorf("measuring process %d: %w", pid, fs.ErrNotExist)
		}
	}
	return nil
}

func descends(stats map[int]Stat, pid int, roots []int) bool {
	for pid > 0 {
		for _, r := range roots {
			if pid == r {
				return true
			}
		}
		pid = stats[pid].Parent
	}
	return false
}

// all reads the state of every process.
func all() (map[int]Stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	stats := map[int]Stat{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // no process
		}
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		s, err2 := Stat{}, err
		if err == nil {
			s, err2 = ParseStat(text)
		}
		if err2 != nil {
			return nil, err2
		}
		stats[pid] = s
	}
	return stats, nil
}

// peak returns VmHWM of a process, in bytes; 0 if it has no memory any more.
func peak(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return ParsePeak(text)
}

// ParsePeak finds VmHWM in the text of /proc/PID/status. A zombie has none: 0.
func ParsePeak(text []byte) (int64, error) {
	_, rest, ok := bytes.Cut(text, []byte("VmHWM:"))
	if !ok {
		return 0, nil
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) != 2 || string(f[1]) != "kB" {
		return 0, fmt.Errorf("reading VmHWM: %q", line)
	}
	n, err := strconv.ParseInt(string(f[0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading VmHWM: %w", err)
	}
	return n << 10, nil
}

// DiskUse returns how many bytes the files below a folder hold on the disk. Room that a store has set aside for later (Pebble and RocksDB do that for
// their logs) is not counted, nor are the holes of a file, nor files of the name that a store gives its reserve, which never grow ("": it has none).
func DiskUse(folder, reserve string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a log that was deleted meanwhile
		}
		if err != nil || !d.Type().IsRegular() || d.Name() == reserve {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		held := info.Size()
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			held = min(held, s.Blocks*512)
		}
		sum += held
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measuring %s: %w", folder, err)
	}
	return sum, nil
}
