package timerslack

import (
	"bytes"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	usual  = 50 * time.Microsecond // what the kernel gives to who asks for nothing
	raised = 4 * time.Millisecond
)

// again is in the environment of a program that was started anew, which must not happen twice, whatever the kernel makes of the rest.
const again = "POE_STARTED_ANEW"

// Raise has all threads of this process woken up to four milliseconds late. A thread has that from the one that has begun it, and the runtime begins its own before any code of a
// program runs, so Raise starts the program anew, with its arguments and its environment, as the process that it is: it is to be called before there is anything to lose, and
// returns in the program that was started. Where the slack is not the usual one somebody has chosen it, a debugger would lose its breakpoints, and where anything fails all stays as it is.
func Raise() {
	if _, done := os.LookupEnv(again); done {
		_ = os.Unsetenv(again) // it is nobody else's; the name is a valid one
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || time.Duration(slack) != usual {
		return
	}
	program, err := os.Executable()
	if err != nil || traced() {
		return
	}
	if unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(raised), 0, 0, 0) != nil {
		return
	}
	// The clock of a CPU profile outlives the program that began it, and its signal ends one that does not expect it yet.
	profiling, _ := unix.Setitimer(unix.ItimerProf, unix.Itimerval{})
	_ = unix.Exec(program, os.Args, append(os.Environ(), again+"=1")) // it has failed, or would not return
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(usual), 0, 0, 0)   // as it was
	_, _ = unix.Setitimer(unix.ItimerProf, profiling)
}

// traced tells whether somebody watches this process by ptrace(2), or it cannot be told.
func traced() bool {
	status, err := os.ReadFile("/proc/self/status")
	return err != nil || !bytes.Contains(status, []byte("\nTracerPid:\t0\n"))
}
