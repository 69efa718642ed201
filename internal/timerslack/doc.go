// Package timerslack lets the kernel wake a process later than it asked for, where that is a matter of a few milliseconds: see PR_SET_TIMERSLACK in prctl(2).
//
// Go's runtime sleeps for 20 microseconds at a time to look for what is stuck in a system call, and for three before it takes work from another processor. A
// server that waits for a disk a thousand times a second wakes for that thousands of times, and finds little: 7 percent of the processor time of a busy one
// went there, and a third of what one takes that has one client.
package timerslack
