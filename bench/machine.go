package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	syncs    = 200
	syncSize = 4 << 10
)

// syncTime returns how long it takes to append 4 KiB to a file in the folder and make them durable, at the median.
func (b *bench) syncTime(folder string) (_ time.Duration, err error) {
	f, err := os.Create(filepath.Join(folder, "sync")) //nolint:gosec // in our own folder
	if err != nil {
		return 0, fmt.Errorf("measuring a sync: %w", err)
	}
	defer func() { _ = f.Close() }()
	block, took := make([]byte, syncSize), make([]time.Duration, syncs)
	for i := range took {
		began := b.clock()
		if _, err := f.Write(block); err != nil {
			return 0, fmt.Errorf("measuring a sync: %w", err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, fmt.Errorf("measuring a sync: %w", err)
		}
		took[i] = b.clock().Sub(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
