package timerslack_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postonce/poe/internal/timerslack"
)

const (
	asked = "TIMERSLACK_TEST" // in the environment: to be the program
	gone  = "gone"            // in its value where the file of the program is to be removed first
	busy  = "busy"            // and where a CPU profile is to be under way
	again = "POE_STARTED_ANEW"
)

// TestMain is also the program that is started anew: it says what came of it, from a thread that was begun since.
func TestMain(m *testing.M) {
	if os.Getenv(asked) == "" {
		os.Exit(m.Run())
	}
	if strings.Contains(os.Getenv(asked), gone) {
		if err := os.Remove(os.Args[0]); err != nil {
			panic(err)
		}
	}
	if _, anew := os.LookupEnv(again); !anew && strings.Contains(os.Getenv(asked), busy) {
		if err := pprof.StartCPUProfile(io.Discard); err != nil {
			panic(err)
		}
	}
	timerslack.Raise()
	slack := make(chan time.Duration)
	runtime.LockOSThread() // so that the other is not this one
	go func() { slack <- current() }()
	_, left := os.LookupEnv(again)
	clock, err := unix.Getitimer(unix.ItimerProf)
	if err != nil {
		panic(err)
	}
	_, _ = fmt.Fprintf(os.Stdout, "process %d, slack %s, marked %t, profiled %t, called %q\n", os.Getpid(), <-slack, left, clock.Interval.Usec > 0, os.Args) // the test notices
}

// current is the slack of this thread.
func current() time.Duration {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		panic(err)
	}
	return time.Duration(slack)
}

// The program is another one afterwards, and nobody who has started it can tell: all its threads have the slack.
func TestRaise(t *testing.T) {
	for name, test := range map[string]struct {
		begins, ends time.Duration
		more         []string
	}{
		"raised":                          {50 * time.Microsecond, 4 * time.Millisecond, nil},
		"raised while it is profiled":     {50 * time.Microsecond, 4 * time.Millisecond, []string{asked + "=" + busy}},
		"less was chosen":                 {time.Microsecond, time.Microsecond, nil},
		"more was chosen":                 {20 * time.Millisecond, 20 * time.Millisecond, nil},
		"it has been started anew before": {50 * time.Microsecond, 50 * time.Microsecond, []string{again + "=1"}},
		"it cannot be started anew":       {50 * time.Microsecond, 50 * time.Microsecond, []string{asked + "=" + gone}},
		"nor while it is profiled":        {50 * time.Microsecond, 50 * time.Microsecond, []string{asked + "=" + gone + busy}},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // what it begins has its slack
			defer runtime.UnlockOSThread()
			defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(current()), 0, 0, 0) //nolint:errcheck // as below
			if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(test.begins), 0, 0, 0); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			program := filepath.Join(t.TempDir(), "program")
			copyFile(t, program, os.Args[0])
			cmd := &exec.Cmd{Path: program, Args: []string{program, "with a", "--flag=of its"}, Env: append(append(os.Environ(), asked+"=1"), test.more...), Stdout: &said, Stderr: &said}
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, &said)
			}
			want := fmt.Sprintf("process %d, slack %s, marked false, profiled %t, called %q\n", cmd.Process.Pid, test.ends, name == "nor while it is profiled", cmd.Args)
			if said.String() != want {
				t.Errorf("it says %swant %s", &said, want)
			}
		})
	}
}

// A debugger has set its breakpoints in the program that it has started.
func TestRaiseTraced(t *testing.T) {
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close() //nolint:errcheck // it is read by its name
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := syscall.ForkExec(program, []string{program}, &syscall.ProcAttr{
		Env: append(os.Environ(), asked+"=1"), Files: []uintptr{0, said.Fd(), 2}, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		var now unix.WaitStatus
		if _, err := unix.Wait4(pid, &now, 0, nil); err != nil {
			t.Fatal(err)
		}
		if !now.Stopped() {
			break
		}
		sig := now.StopSignal()
		if sig == unix.SIGTRAP {
			sig = 0 // it is for us
		}
		if err := unix.PtraceCont(pid, int(sig)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(said.Name())
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("process %d, slack %s,", pid, 50*time.Microsecond); !strings.HasPrefix(string(got), want) {
		t.Errorf("it says %swant %s", got, want)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}
