package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/store"
)

// checkCmd is poe check.
type checkCmd struct {
	ledgerFlags
}

// Help is shown after the flags.
func (checkCmd) Help() string {
	return `Reads every record, compares every content with its digest, follows names and agenda, and compares the ledger with its
high-water file. It changes nothing but the files LOCK. Stop the server first, or check a backup: --store pebble:BACKUP.
What is wrong is printed; the exit code is 78 then.`
}

// Run checks the ledger.
func (c *checkCmd) Run(ctx context.Context, t terminal) error {
	show := t.meter()
	found, err := serve.Check(ctx, c.ledger(), show.see)
	show.end()
	if err != nil {
		return unusable(c.missing(err))
	}
	for _, w := range found.Wrong {
		if err := t.print("%s\n", w); err != nil {
			return err
		}
	}
	if more := found.Faults - int64(len(found.Wrong)); more > 0 {
		if err := t.print("… and %d more\n", more); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("ledger %s with %d writes: %d records, %d names, %d entries of the agenda, %d contents, %s compared",
		found.Ledger, found.Sequence, found.Records, found.Names, found.Agenda, found.Bodies, humanize.IBytes(uint64(max(found.Bytes, 0))))
	if found.Faults > 0 {
		hint := "keep the folder as it is, and put a backup into its place: poe restore BACKUP --store " + quoted(c.Store)
		switch {
		case found.Altered:
			hint = "take another backup: poe restore refuses this one"
		case c.isBackup():
			hint = "it is what was backed up: look after the ledger that it is of; an older backup may have what this one lacks"
		}
		return &configError{&hinted{fmt.Errorf("%w: %d faults in %s", store.ErrCorrupt, found.Faults, what), hint}}
	}
	t.say("sound: %s", what)
	return nil
}

// isBackup tells whether what is checked is a backup.
func (c *checkCmd) isBackup() bool {
	dir, _ := strings.CutPrefix(c.Store, "pebble:")
	_, err := os.Stat(filepath.Join(dir, "backup.json"))
	return err == nil
}
