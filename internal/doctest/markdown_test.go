package doctest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from this package.
const root = "../.."

// A page is one Markdown file, by lines.
type page struct {
	name  string // from the root: "docs/protocol.md"
	lines []string
}

func readPage(t *testing.T, name string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return page{name: name, lines: strings.Split(string(text), "\n")}
}

// pages returns the README, the changelog and everything under docs.
func pages(t *testing.T) []page {
	t.Helper()
	all := []page{readPage(t, "README.md"), readPage(t, "CHANGELOG.md")}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			rel, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, readPage(t, filepath.ToSlash(rel)))
		}
	}
	return all
}

// A block is fenced code.
type block struct {
	language string
	line     int // of its first line, from 1
	text     string
}

// blocks returns the fenced code of p in order. Between two blocks that stand next to each other is nothing but blank lines.
func (p page) blocks() []block {
	var all []block
	var open *block
	for i, line := range p.lines {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case !fence && open != nil:
			open.text += line + "\n"
		case fence && open == nil:
			open = &block{language: language, line: i + 2}
		case fence:
			all = append(all, *open)
			open = nil
		}
	}
	return all
}

// An example is a script and what it prints.
type example struct {
	script, want block
}

// examples returns the sh blocks that have a text block right below them.
func (p page) examples() []example {
	var all []example
	b := p.blocks()
	for i := 1; i < len(b); i++ {
		script, want := b[i-1], b[i]
		end := script.line + strings.Count(script.text, "\n") // the closing fence
		between := strings.Join(p.lines[end:want.line-2], "")
		if script.language == "sh" && want.language == "text" && strings.TrimSpace(between) == "" {
			all = append(all, example{script, want})
		}
	}
	return all
}

// section returns the lines under a heading, up to the next one of its level or above.
func (p page) section(t *testing.T, heading string) page {
	t.Helper()
	from := slices.Index(p.lines, heading)
	if from < 0 {
		t.Fatalf("%s has no heading %q", p.name, heading)
	}
	level := strings.Count(strings.SplitN(heading, " ", 2)[0], "#")
	to := from + 1
	for ; to < len(p.lines); to++ {
		marks, _, isHeading := strings.Cut(p.lines[to], " ")
		if isHeading && marks != "" && strings.Trim(marks, "#") == "" && len(marks) <= level {
			break
		}
	}
	return page{name: p.name, lines: p.lines[from+1 : to]}
}

// rows returns the cells of the tables in p, without their heads, and without backquotes.
func (p page) rows() [][]string {
	var all [][]string
	for i, line := range p.lines {
		if !strings.HasPrefix(line, "|") || isRule(line) || i+1 < len(p.lines) && isRule(p.lines[i+1]) {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.Trim(strings.TrimSpace(cell), "`"))
		}
		all = append(all, cells)
	}
	return all
}

// isRule tells whether a line parts the head of a table from its body.
func isRule(line string) bool {
	return strings.HasPrefix(line, "|") && strings.Trim(line, "|-: ") == ""
}

// column returns the first cell of each row.
func (p page) column() []string {
	var all []string
	for _, row := range p.rows() {
		all = append(all, row[0])
	}
	return all
}

var link = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	found := 0
	for _, p := range pages(t) {
		for i, line := range p.lines {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				target, anchor := m[1], m[2]
				if strings.Contains(target, "://") {
					continue
				}
				found++
				name := p.name
				if target != "" {
					name = filepath.ToSlash(filepath.Join(filepath.Dir(p.name), target))
				}
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s:%d: %v", p.name, i+1, err)
					continue
				}
				if anchor != "" && !slices.Contains(readPage(t, name).anchors(), anchor) {
					t.Errorf("%s:%d: %s has no heading %s", p.name, i+1, name, anchor)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d links: the search must be broken", found)
	}
}

// anchors returns what the headings of p can be linked by.
func (p page) anchors() []string {
	var all []string
	for _, line := range p.lines {
		if marks, text, ok := strings.Cut(line, " "); ok && marks != "" && strings.Trim(marks, "#") == "" {
			text = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(text), "")
			all = append(all, "#"+strings.ReplaceAll(text, " ", "-"))
		}
	}
	return all
}
