//go:build unix

package serve

import "syscall"

// openFiles is how many files, sockets included, this process may have open. Go has raised that to what the system lets it raise it to.
func openFiles() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return unlimitedFiles
	}
	return int(min(r.Cur, unlimitedFiles))
}
