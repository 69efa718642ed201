package serve

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

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

// Error returns one mistake a line. What looks like a secret that signs callbacks, wherever somebody put it, is not repeated.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.String()
	}
	return secretForm.ReplaceAllString(strings.Join(lines, "\n"), "whsec_…")
}

// secretForm is how a secret of Standard Webhooks begins, and all that may be of it.
var secretForm = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`)

// An origin is the place that a value came from.
type origin struct {
	place  string // "poe.yaml:9:10", "--ttl", "POE_TTL"
	inFile bool
	line   int // 0: the file as a whole, or not in it
	column int
}

// A finding is a mistake and the path of the key that it is about, "" where it is about none.
type finding struct {
	path string
	at   origin
	Mistake
}

// add notes a mistake in the file that is about no key, or about one that there is not.
func (d *decoder) add(at origin, format string, args ...any) {
	d.found = append(d.found, finding{at: at, Mistake: Mistake{Where: at.place, Text: fmt.Sprintf(format, args...)}})
}

// wrong notes what is wrong with the key at path, in the words of whoever gave it. A second mistake about one key, or
// one about a key that the broken mapping around it cannot have, is noise: it follows from the first.
func (d *decoder) wrong(path, format string, args ...any) {
	around := path[:max(strings.LastIndexByte(path, '.'), 0)]
	if slices.ContainsFunc(d.found, func(f finding) bool { return f.path != "" && (f.path == path || f.path == around) }) {
		return
	}
	from := d.originOf(path)
	m := Mistake{Where: from.place, Text: fmt.Sprintf(format, args...)}
	if from.inFile {
		m.Text = keyOf(path) + ": " + m.Text
	}
	d.found = append(d.found, finding{path: path, at: from, Mistake: m})
}

// isWrong tells whether a mistake was found at path, or below it.
func (d *decoder) isWrong(path string) bool {
	return slices.ContainsFunc(d.found, func(f finding) bool {
		rest, below := strings.CutPrefix(f.path, path)
		return below && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// has tells whether somebody gave the key at path.
func (d *decoder) has(path string) bool {
	_, ok := d.given[path]
	return ok
}

// originOf returns where the key at path was given; where it was not, the list or mapping that it is of; without a file, its name.
func (d *decoder) originOf(path string) origin {
	if from, ok := d.given[path]; ok {
		return from
	}
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		if from, ok := d.given[path[:i]]; ok {
			return from
		}
	}
	if d.name != "" {
		return d.wholeFile()
	}
	return origin{place: keyOf(path)}
}

// mistakes returns what was found, as Mistakes; nil where it is nothing.
func (d *decoder) mistakes() error {
	if len(d.found) == 0 {
		return nil
	}
	slices.SortStableFunc(d.found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.column, b.at.column))
	})
	all := make(Mistakes, len(d.found))
	for i, f := range d.found {
		all[i] = f.Mistake
	}
	return all
}

// forget takes back what the file said about a key and about what lies below it.
func (d *decoder) forget(key string) {
	of := func(path string) bool { return path == key || strings.HasPrefix(path, key+"[") }
	d.found = slices.DeleteFunc(d.found, func(f finding) bool { return of(f.path) })
	maps.DeleteFunc(d.given, func(path string, _ origin) bool { return of(path) })
}

// wholeFile is the place of what has no line.
func (d *decoder) wholeFile() origin { return origin{place: d.name, inFile: true} }

// keyOf returns the key that a path ends with, without the number of an item in a list.
func keyOf(path string) string {
	key := path[strings.LastIndexByte(path, '.')+1:]
	key, _, _ = strings.Cut(key, "[")
	return key
}
