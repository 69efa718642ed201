package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/postonce/poe/bench/internal/proc"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// room is what one kind of action takes on disk.
type room struct {
	kind   string
	n      int
	each   int64 // bytes, without the answer's body, when everything has its final form
	atMost int64 // the goal
}

// onDisk is what a ledger of n actions takes on disk, for each, without the bodies of their answers. The reserve for a full disk is not counted, nor the zeros
// that a log has ahead.
func onDisk(dir string, n int) (int64, error) {
	folder := filepath.Join(ledgerIn(dir), "ledger")
	used, err := proc.DiskUse(folder, "reserve")
	if err != nil {
		return 0, err
	}
	logs, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil {
		return 0, err
	}
	for _, log := range logs {
		b, err := os.ReadFile(log) //nolint:gosec // a ledger that the measurement has made
		if err != nil {
			return 0, err
		}
		used -= int64(len(b) - len(bytes.TrimRight(b, "\x00")))
	}
	return used/int64(n) - bodySize, nil
}

// settle brings the tables of a ledger into their final form, and measures what is left.
func (p *plan) settle(ctx context.Context, s *subject) (err error) {
	if err := p.compact(ctx, s.ledger()); err != nil {
		return fmt.Errorf("compacting the ledger: %w", err)
	}
	s.compact, err = onDisk(s.dir, s.size+s.consumed)
	return err
}

func (p *plan) compact(ctx context.Context, dir string) error {
	l, err := pebblestore.Open(ctx, pebblestore.Config{Dir: dir, Clock: p.clock})
	if err != nil {
		return err
	}
	return errors.Join(l.Compact(ctx), l.Close())
}

// kindSize is how many actions of one kind are measured by themselves.
const kindSize = 100_000

// measureKinds measures stores of nothing but one kind of action.
func (p *plan) measureKinds(ctx context.Context) ([]room, error) {
	n := min(kindSize, p.sizes[len(p.sizes)-1])
	kinds := []room{{kind: "poe", n: n, atMost: 200}, {kind: "key", n: n, atMost: 300}}
	for i := range kinds {
		k := &kinds[i]
		all := newActions(p.clock(), n, p.perDay)
		all.keyed = func(int) bool { return k.kind == "key" }
		dir := filepath.Join(p.dir, "kind-"+k.kind)
		err := p.fill(ctx, ledgerIn(dir), all, span{0, n})
		if err == nil {
			err = p.compact(ctx, ledgerIn(dir))
		}
		if err == nil {
			k.each, err = onDisk(dir, n)
		}
		if err != nil {
			return nil, fmt.Errorf("measuring actions of kind %q: %w", k.kind, err)
		}
	}
	return kinds, nil
}
