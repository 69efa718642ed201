package core

import (
	"iter"
	"net/http"
	"strings"
)

// Prefer is no structured field (RFC 7240, section 2): names have no case, there may be blanks around "=", a value is a token or a quoted string, and a list may have
// empty members. One that cannot be read takes nothing from its neighbours.

// A wish is a member of Prefer.
type wish struct {
	name, value string // without the parameters, which none of those that we grant has
	text        string // as it came
}

// wishes returns the members of Prefer.
func wishes(h http.Header) iter.Seq[wish] {
	return func(yield func(wish) bool) {
		for _, line := range h["Prefer"] {
			for text := range unquoted(line, ',') {
				said, _, _ := strings.Cut(text, ";")
				name, value, _ := strings.Cut(said, "=")
				name = strings.ToLower(strings.TrimSpace(name))
				if name != "" && !yield(wish{name: name, value: strings.Trim(strings.TrimSpace(value), `"`), text: strings.TrimSpace(text)}) {
					return
				}
			}
		}
	}
}

// unquoted splits s at each sep that does not stand in a quoted string.
func unquoted(s string, sep byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		quoted, from := false, 0
		for i := 0; i < len(s); i++ {
			switch {
			case quoted && s[i] == '\\':
				i++
			case s[i] == '"':
				quoted = !quoted
			case s[i] == sep && !quoted:
				if !yield(s[from:i]) {
					return
				}
				from = i + 1
			}
		}
		yield(s[from:])
	}
}

// preference returns the value of a member of Prefer. Of two the first counts.
func preference(r *http.Request, name string) (string, bool) {
	for w := range wishes(r.Header) {
		if w.name == name {
			return w.value, true
		}
	}
	return "", false
}

func prefers(r *http.Request, name string) bool {
	_, ok := preference(r, name)
	return ok
}

// withoutDeferring takes out what the client prefers and has been granted: an application that honours it too would only say that it has
// accepted something.
func withoutDeferring(h http.Header) {
	var rest []string
	for w := range wishes(h) {
		if w.name != "respond-async" && w.name != "wait" {
			rest = append(rest, w.text)
		}
	}
	delete(h, "Prefer")
	if len(rest) > 0 {
		h["Prefer"] = []string{strings.Join(rest, ", ")}
	}
}
