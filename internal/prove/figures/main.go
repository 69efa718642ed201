// Figures writes what make prove has found into docs/reliability.md, between the two marks there. A proof that was not run keeps its line.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	begin = "<!-- figures: make prove writes these -->\n"
	end   = "<!-- end of figures -->\n"
	head  = "| proof | sample | result | seconds |\n|---|---|---|---|\n"
)

type figure struct {
	Proof, Sample, Result string
	Seconds               int
}

func (f figure) line() string {
	return fmt.Sprintf("| %s | %s | %s | %d |\n", f.Proof, f.Sample, f.Result, f.Seconds)
}

func main() {
	in := flag.String("in", "", "folder with a JSON file for each proof")
	into := flag.String("into", "", "page to write them into")
	flag.Parse()
	if err := run(*in, *into); err != nil {
		fmt.Fprintf(os.Stderr, "figures: %v\n", err)
		os.Exit(1)
	}
}

func run(in, into string) error {
	lines := map[string]string{}
	text, err := os.ReadFile(into) //nolint:gosec // the page that was named
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return errors.New("the page has no marks for figures")
	}
	for _, l := range strings.SplitAfter(strings.TrimPrefix(old, head), "\n") {
		if cells := strings.Split(l, " | "); len(cells) > 1 {
			lines[strings.TrimPrefix(cells[0], "| ")] = l
		}
	}
	files, err := filepath.Glob(filepath.Join(in, "*.json"))
	if err != nil {
		return fmt.Errorf("listing the figures: %w", err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path) //nolint:gosec // of the folder that was named
		if err != nil {
			return fmt.Errorf("reading a figure: %w", err)
		}
		var f figure
		if err := json.Unmarshal(b, &f); err != nil {
			return fmt.Errorf("reading %q: %w", path, err)
		}
		lines[f.Proof] = f.line()
	}
	var table strings.Builder
	for _, l := range lines {
		table.WriteString(l)
	}
	sorted := strings.SplitAfter(table.String(), "\n")
	slices.Sort(sorted)
	page := before + begin + head + strings.Join(sorted, "") + end + after
	if err := os.WriteFile(into, []byte(page), 0o644); err != nil { //nolint:gosec // a page of the documentation
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
