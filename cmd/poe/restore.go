package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/store"
)

// restoreCmd is poe restore.
type restoreCmd struct {
	Dir  string `arg:"" optional:"" help:"Folder that poe backup has made."`
	AsIs bool   `name:"as-is" help:"Take the ledger that is there, though it is older than it was, or has lost its high-water file."`
	ledgerFlags
	AcceptLostKeys bool `env:"-" help:"What was done under keys after the backup may be done again."`
}

// Help is shown after the flags.
func (restoreCmd) Help() string {
	return `Nobody knows what was done after the backup was made. So that none of it is done twice, every POE URI from before now is
worthless afterwards (410), and a key that is new to the ledger gets 503, since it may have been used in between. The last is
ended by --accept-lost-keys, here or at poe serve: then such a key is taken for new.
Stop the server first. What is in the ledger's folder is not replaced: move it away.`
}

// Run puts the ledger back.
func (c *restoreCmd) Run(ctx context.Context, t terminal) error {
	r := store.Restore{Lost: c.AcceptLostKeys}
	switch {
	case c.AsIs == (c.Dir != ""):
		return &usageError{err: errors.New("either the folder of a backup is wanted, or --as-is"), command: "poe restore"}
	case c.Dir != "":
		dir, err := filepath.Abs(c.Dir)
		if err != nil {
			return err
		}
		r.From = dir
	}
	show := t.meter()
	r.Progress = show.see
	did, err := serve.Restore(ctx, c.ledger(), r)
	show.end()
	if err != nil && c.AsIs {
		err = c.missing(err)
	}
	if err != nil {
		return unusable(err)
	}
	t.say("ledger %s is ready to be served: POE URIs from before %s are worth nothing", did.Ledger, did.Time.UTC().Format("2006-01-02 15:04:05 MST"))
	if did.Missing > 0 {
		t.say("%d contents were lost already when it was backed up, and are not in it: poe check says which", did.Missing)
	}
	if !c.AcceptLostKeys {
		t.say("keys that are new to it get 503 until poe serve --accept-lost-keys")
	}
	return nil
}
