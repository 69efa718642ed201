package tokens

import "strings"

// A HintError is an error that its reader can mend with one command.
type HintError struct {
	err  error
	hint string
}

// Error says what is wrong.
func (e *HintError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong.
func (e *HintError) Unwrap() error { return e.err }

// Hint returns the command, ready to be pasted into a shell.
func (e *HintError) Hint() string { return e.hint }

// Quoted returns s as one word of a POSIX shell.
func Quoted(s string) string {
	strange := func(c rune) bool {
		return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("/._-+=:@", c)
	}
	if s != "" && !strings.HasPrefix(s, "-") && !strings.ContainsFunc(s, strange) {
		return s
	}
	if strings.HasPrefix(s, "-") {
		s = "./" + s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Hinted is err with the command that mends it.
func Hinted(err error, hint string) error { return &HintError{err, hint} }
