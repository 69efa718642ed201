package poe

import "github.com/postonce/poe/internal/timerslack"

// RaiseTimerSlack has the kernel wake this program up to four milliseconds later than it asked for, on Linux (PR_SET_TIMERSLACK in prctl(2)); elsewhere it does nothing.
// Every durable write waits for a disk in a system call, and Go's runtime wakes up thousands of times a second to see whether that is over, which takes up to a tenth of a busy
// program's processor time, and a third of one's that has one client. Timers may be late by that, time.Sleep for one.
//
// A thread has its slack from the one that has begun it, and the runtime begins its own before main does. So RaiseTimerSlack starts the program anew, as the process that it is, with
// its arguments and its environment: call it first thing in main, before anything was opened, read, or said. It returns in the program that was started. Where the slack is not
// the usual one of 50 microseconds somebody has chosen it, as by TimerSlackNSec of systemd, and it does nothing; nor does it in a debugger, which would lose its breakpoints, or where anything fails.
func RaiseTimerSlack() { timerslack.Raise() }
