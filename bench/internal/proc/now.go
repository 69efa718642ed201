package proc

import (
	"fmt"
	"os"
)

// Resident returns the resident memory of one process as it is now, in bytes.
func Resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("measuring process %d: %w", pid, err)
	}
	var size, resident int64 // in pages: proc_pid_statm(5)
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("reading /proc/%d/statm: %w", pid, err)
	}
	return resident * int64(os.Getpagesize()), nil
}

// OpenFiles returns how many files one process has open, sockets and the like included.
func OpenFiles(pid int) (int, error) {
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, fmt.Errorf("listing the open files of process %d: %w", pid, err)
	}
	return len(fds), nil
}
