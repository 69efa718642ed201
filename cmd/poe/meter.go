package main

import (
	"fmt"
	"os"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/postonce/poe/internal/store"
)

// A meter shows on the terminal how far a command is: one line that is written over. Where nobody watches, in a file or a pipe, it shows
// one line for every step.
type meter struct {
	t     terminal
	watch bool
	step  string
	last  time.Time
	wrote int
}

func (t terminal) meter() *meter {
	m := &meter{t: t}
	if f, ok := t.err.(*os.File); ok {
		info, err := f.Stat()
		m.watch = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return m
}

// showEvery is how often the line changes.
const showEvery = 100 * time.Millisecond

func (m *meter) see(s store.Progress) {
	now := time.Now() //nolint:forbidigo // for people who watch
	switch {
	case !m.watch && s.Step != m.step:
		m.t.say("%s", s.Step)
	case m.watch && (s.Step != m.step || now.Sub(m.last) >= showEvery):
		m.write(s.Step + ": " + far(s))
		m.last = now
	}
	m.step = s.Step
}

func far(s store.Progress) string {
	count := func(n int64) string {
		if s.Unit == "bytes" {
			return humanize.IBytes(uint64(max(n, 0)))
		}
		return humanize.Comma(n)
	}
	text := count(s.Done)
	if s.Total > 0 {
		text += " of " + count(s.Total)
	}
	if s.Unit != "bytes" {
		text += " " + s.Unit
	}
	return text
}

// write writes over the line.
func (m *meter) write(line string) {
	_, _ = fmt.Fprintf(m.t.err, "\r%-*s", m.wrote, line) // nobody is left to tell
	m.wrote = len(line)
}

// end leaves the line to what is said next.
func (m *meter) end() {
	if m.wrote > 0 {
		m.write("")
		_, _ = fmt.Fprint(m.t.err, "\r")
	}
}
