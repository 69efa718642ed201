package serve

import "strings"

// A Mistake is one thing that is wrong with a configuration.
type Mistake struct {
	Where string // "poe.yaml:3:5", "--ttl" or "POE_TTL"; the key itself where none of them said it
	Text  string
}

// String returns the mistake as one line.
func (m Mistake) String() string { return m.Where + ": " + m.Text }

// Mistakes is everything that is wrong with a configuration: what has no line first, then in the order of the file.
// It is an error only where it is not empty.
type Mistakes []Mistake

// Error returns one mistake a line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}
