package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/postonce/poe/internal/client"
	"github.com/postonce/poe/internal/ledger"
)

// The exit codes. 78 is EX_CONFIG of sysexits(3).
const (
	exitOK     = 0
	exitError  = 1
	exitUsage  = 2
	exitConfig = 78 // a configuration or a ledger that must not be used
)

// report tells a person what went wrong, one line each, then what to do, and returns the exit code.
func (t terminal) report(err error) int {
	if !errors.Is(err, errSilent) {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			t.say("error: %s", line)
		}
	}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		t.say("hint: %s", hint.Hint())
	}
	var code interface{ ExitCode() int }
	var address *client.URLError
	switch {
	case errors.As(err, &code):
		return code.ExitCode()
	case errors.As(err, &address) && address.Given, errors.Is(err, ledger.ErrNoFolder):
		return exitUsage
	default:
		return exitError
	}
}

// say writes one line for people.
func (t terminal) say(format string, args ...any) {
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) { // a server may have said it, and must not write elsewhere on the terminal
			return '�'
		}
		return r
	}, fmt.Sprintf(format, args...))
	_, _ = fmt.Fprintf(t.err, "poe: %s\n", line) // there is nobody left to tell
}

// print writes to the standard output.
func (t terminal) print(format string, args ...any) error {
	if _, err := fmt.Fprintf(t.out, format, args...); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// errSilent ends a command with code 1 where everything has been said.
var errSilent = errors.New("failed")

// usageError is a command line that cannot be understood.
type usageError struct {
	err     error
	command string // whose help explains it; "": there is no more to say
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) ExitCode() int { return exitUsage }

func (e *usageError) Hint() string {
	if e.command == "" {
		return ""
	}
	return "see " + e.command + " --help"
}

// configError is a configuration or a ledger that must not be used.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }
func (e *configError) ExitCode() int { return exitConfig }

// hinted is an error whose remedy the command knows.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }
func (e *hinted) Hint() string  { return e.hint }
