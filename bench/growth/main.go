// Command growth measures what a ledger costs as it grows: the real poe serve on folders of 10⁴, 10⁶ and 10⁷ consumed actions, how long it takes to
// start there, what a POST and an old outcome take, memory, disk and open files, and what it takes to forget a shelf. It prints tables in
// Markdown, and writes them into a page.
//
//	go run ./growth [-sizes 10000,1000000,10000000] [-rounds 5] [-requests 40000] [-dir DIR] [-into PAGE]
//
// One store is grown through its own words, and its folder copied at each size. Then a server runs on each copy, and the same load
// goes to one after the other, round by round, so that what else the machine does meets all sizes alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

// plan is what is asked for.
type plan struct {
	sizes       []int // actions, ascending
	perDay      int   // actions minted on one day, and so on one shelf
	rounds      int
	requests    int // of one kind in a round
	connections int
	binary      string // poe
	dir         string // for the folders; "": a temporary one, which is removed
	into        string // page that the tables go into; "": none
	args        []string
	clock       func() time.Time
}

func run(ctx context.Context, out io.Writer, args []string) (err error) {
	p := plan{args: args}
	p.clock = time.Now
	var sizes string
	f := flag.NewFlagSet("growth", flag.ContinueOnError)
	f.StringVar(&sizes, "sizes", "10000,1000000,10000000", "consumed actions in the ledger, ascending")
	f.IntVar(&p.perDay, "day", 1_000_000, "actions minted on one day, which lie on one shelf")
	f.IntVar(&p.rounds, "rounds", 5, "rounds, of which the median counts")
	f.IntVar(&p.requests, "requests", 40_000, "POSTs in a round; as many outcomes, or a round's share of all where that is less")
	f.IntVar(&p.connections, "connections", 64, "keep-alive connections")
	f.StringVar(&p.binary, "binary", "../bin/poe", "the program that is measured")
	f.StringVar(&p.dir, "dir", "", "an empty folder for the ledgers, which stay there; without: a temporary one")
	f.StringVar(&p.into, "into", "", "page with the marks of this bench, which the tables are written between")
	if err := f.Parse(args); err != nil {
		return err
	}
	if p.sizes, err = parseSizes(sizes); err != nil {
		return err
	}
	if p.rounds < 1 || p.requests < 1 || p.connections < 1 || p.perDay < 1 {
		return errors.New("-rounds, -requests, -connections and -day must be above 0")
	}
	if p.dir == "" {
		if p.dir, err = os.MkdirTemp("", "poe-growth-"); err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	}
	m, err := p.measure(ctx)
	if err != nil {
		return err
	}
	text := p.text(ctx, m)
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("writing the tables: %w", err)
	}
	if p.into == "" {
		return nil
	}
	return insert(p.into, text)
}

func parseSizes(list string) ([]int, error) {
	var sizes []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-sizes: %q is not a number of actions", s)
		}
		sizes = append(sizes, n)
	}
	if !slices.IsSorted(sizes) {
		return nil, errors.New("-sizes must ascend: one store grows")
	}
	return sizes, nil
}

// measured is all that a run has found out.
type measured struct {
	sizes []*subject
	kinds []room
	sweep forgotten
}

// measure grows the store and measures it at each size.
func (p *plan) measure(ctx context.Context) (m measured, err error) {
	last := p.sizes[len(p.sizes)-1]
	all := newActions(p.clock(), last, p.perDay)
	if m.sizes, err = p.grow(ctx, all); err != nil {
		return m, err
	}
	if err := p.serveAll(ctx, all, m.sizes); err != nil {
		return m, err
	}
	for _, s := range m.sizes {
		if err := p.settle(ctx, s); err != nil {
			return m, err
		}
	}
	if m.kinds, err = p.measureKinds(ctx); err != nil {
		return m, err
	}
	grown := m.sizes[len(m.sizes)-1]
	m.sweep, err = p.sweep(ctx, grown.ledger(), all)
	return m, err
}

// grow fills a store up to each size, and copies its folder there.
func (p *plan) grow(ctx context.Context, all actions) ([]*subject, error) {
	growing := filepath.Join(p.dir, "growing")
	var subjects []*subject
	done := 0
	for _, n := range p.sizes {
		began := p.clock()
		if err := p.fill(ctx, ledgerIn(growing), all, span{done, n}); err != nil {
			return nil, fmt.Errorf("filling the ledger up to %d: %w", n, err)
		}
		s := &subject{size: n, dir: filepath.Join(p.dir, "size-"+strconv.Itoa(n)), filled: float64(n-done) / p.clock().Sub(began).Seconds()}
		done = n
		if err := os.CopyFS(s.dir, os.DirFS(growing)); err != nil {
			return nil, fmt.Errorf("copying the ledger: %w", err)
		}
		subjects = append(subjects, s)
	}
	if err := os.RemoveAll(growing); err != nil {
		return nil, fmt.Errorf("removing what has grown: %w", err)
	}
	return subjects, nil
}

// ledgerIn is the ledger's folder in one that also holds its high-water file.
func ledgerIn(dir string) string { return filepath.Join(dir, "poe") }
