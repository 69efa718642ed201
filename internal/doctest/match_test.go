package doctest_test

import (
	"regexp"
	"strings"
	"testing"
)

// matches tells whether got is what a page says: … stands for anything within a line, a line of … alone for any
// number of lines. Carriage returns and what is blank at either end do not count.
func matches(want, got string) bool {
	got = strings.TrimSpace(strings.ReplaceAll(got, "\r", ""))
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	lines := strings.Split(strings.TrimSpace(want), "\n")
	for i, line := range lines {
		last := i == len(lines)-1
		switch {
		case line == "…" && last:
			pattern.WriteString(`(?:.*\n?)*`)
		case line == "…":
			pattern.WriteString(`(?:.*\n)*?`)
		default:
			pattern.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*"))
			if !last {
				pattern.WriteString(`\n`)
			}
		}
	}
	pattern.WriteString(`\z`)
	return regexp.MustCompile(pattern.String()).MatchString(got)
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		name, want, got string
		ok              bool
	}{
		{"the same", "a\nb", "a\r\nb\r\n", true},
		{"another line", "a\nb", "a\nc", false},
		{"a line too many", "a", "a\nb", false},
		{"a line too few", "a\nb", "a", false},
		{"within a line", "a…z", "abcz", true},
		{"not across lines", "a…z", "a\nz", false},
		{"any lines", "a\n…\nz", "a\nb\nc\nz", true},
		{"no lines", "a\n…\nz", "a\nz", true},
		{"lines at the end", "a\n…", "a\nb\nc", true},
		{"lines at the beginning", "…\nz", "x\ny\nz", true},
		{"after any lines, another", "a\n…\nz", "a\nb\ny", false},
		{"signs of patterns", "a.b[1]", "axb1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ok := matches(c.want, c.got); ok != c.ok {
				t.Errorf("matches(%q, %q) = %t", c.want, c.got, ok)
			}
		})
	}
}
