package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/dustin/go-humanize"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// ledgerFlags say which ledger a command is about, in the words of poe serve.
type ledgerFlags struct {
	Store     string `default:"pebble:./poe-data" placeholder:"STORE" help:"The ledger, pebble:DIR (${default})."`
	Keys      string `placeholder:"FILE" help:"Its keys, if they lie elsewhere: they say which ledger is meant."`
	HighWater string `placeholder:"FILE" help:"Its high-water file, if it is not beside the folder."`
}

func (f ledgerFlags) ledger() serve.Ledger {
	return serve.Ledger{Store: f.Store, Keys: f.Keys, HighWater: f.HighWater, Log: zerolog.Nop()}
}

// missing says what to do where err comes from there being no ledger.
func (f ledgerFlags) missing(err error) error {
	var hint interface{ Hint() string }
	if errors.As(err, &hint) || !errors.Is(ledger.Exists(f.Store), fs.ErrNotExist) {
		return err
	}
	return &hinted{err, "there is no ledger: say where it is with --store pebble:DIR"}
}

// backupCmd is poe backup.
type backupCmd struct {
	Dir string `arg:"" help:"Folder for the copy, apart from the ledger's; it must be empty, or not there."`
	ledgerFlags
	adminAddress
}

// Help is shown after the flags.
func (backupCmd) Help() string {
	return `A server that has the ledger open copies it itself, while it goes on serving: the folder is one of its machine, which its user may
write to. If that is this machine the backup is looked for, since a /tmp of its own, or a container, would hide it.
With --admin, typed here, and without --store, it is the ledger of the server there.
Where folder and ledger are on one disk the copy takes links and little room; copy it to another disk or machine then.
The keys are in the copy where they lie in the ledger's folder. Keep it as you keep the ledger: whoever has it can read what is in it.`
}

// Run copies the ledger: of the server that --admin names, or the one of --store, whether a server has it open or not.
func (c *backupCmd) Run(ctx context.Context, t terminal, parsed *kong.Context) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("resolving %q: %w", c.Dir, err)
	}
	folder, err := c.folder()
	if err != nil {
		return err
	}
	show := t.meter()
	var did store.Copied
	where := c.Dir
	if typed(parsed, "admin") {
		if !chosen(parsed, "store") {
			folder = "" // whichever it has
		}
		if c.here() {
			did, err = c.askHere(ctx, dir, folder, show)
		} else {
			did, err = c.ask(ctx, dir, folder, show)
			where += ", a folder of the machine of " + c.Admin
		}
		if errors.Is(err, errUnreached) {
			err = &hinted{err, "without --admin, a ledger that no server has open is copied"}
		}
	} else if did, err = serve.Backup(ctx, c.ledger(), dir, show.see); errors.Is(err, fs.ErrNotExist) {
		err = c.missing(err)
	} else if errors.Is(err, store.ErrLocked) {
		did, err = c.askHere(ctx, dir, folder, show)
		if errors.Is(err, errUnreached) {
			err = &hinted{fmt.Errorf("a server has the ledger open, and it cannot be asked: %w", err), "say where its admin listener is: --admin ADDR"}
		}
	}
	show.end()
	if err != nil {
		return unusable(err)
	}
	t.say("backed up ledger %s with %d writes, the last one at %s: %s in %s", did.Ledger, did.Sequence, did.Time.UTC().Format(time.RFC3339), records(did), where)
	if did.Missing > 0 {
		return &hinted{
			fmt.Errorf("%d contents that the ledger itself has lost are not in the backup; all else is", did.Missing),
			"poe check says which, of the backup too; look after the disk",
		}
	}
	return nil
}

// folder is where the ledger of --store lies, absolutely; "": in no folder.
func (c *backupCmd) folder() (string, error) {
	dir, ok := strings.CutPrefix(c.Store, "pebble:")
	if !ok || dir == "" {
		return "", nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolving %q: %w", c.Store, err)
	}
	return dir, nil
}

func records(c store.Copied) string {
	return fmt.Sprintf("%d records, %d contents, %s", c.Records, c.Bodies, humanize.IBytes(uint64(max(c.Bytes, 0))))
}

// askHere is ask, and looks for what a server of this machine has made. Its file system may be another, that of a container or a /tmp of its own: then the backup
// is not where whoever wants one will look for it, and may be gone with the server.
func (c *backupCmd) askHere(ctx context.Context, dir, folder string, show *meter) (store.Copied, error) {
	did, err := c.ask(ctx, dir, folder, show)
	if err != nil {
		return did, err
	}
	here, err := pebblestore.BackupIn(dir)
	switch {
	case err == nil && same(here, did):
		return did, nil
	case err == nil, errors.Is(err, pebblestore.ErrNoBackup):
		return did, &hinted{
			fmt.Errorf("the server has made the backup, and it is not in %q here: the server has another file system, such as that of a container, or a /tmp of its own", dir),
			"name a folder that both see, and not one below /tmp, or run poe backup where the server runs",
		}
	default:
		return did, &hinted{fmt.Errorf("the server has made the backup, and it cannot be seen whether it is here: %w", err), "run poe backup as the server's user, or as root"}
	}
}

// same tells whether two backups hold the same.
func same(a, b store.Copied) bool {
	at := a.Time.Equal(b.Time)
	a.Time = b.Time
	return at && a == b
}

// ask has the server do it, which must have the ledger in folder open, unless that is "". It takes as long as it takes.
func (c *backupCmd) ask(ctx context.Context, dir, folder string, show *meter) (did store.Copied, err error) {
	what := url.Values{"dir": {dir}}
	if folder != "" {
		what.Set("ledger", folder)
	}
	op := operator{admin: c.Admin, tokenFile: c.AdminTokenFile, command: "poe backup"}
	res, err := op.send(ctx, order{method: http.MethodPost, path: "/backup?" + what.Encode()})
	if err != nil {
		return did, err
	}
	defer func() { _ = res.Body.Close() }() // read only
	begun := false
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		var l serve.BackupLine
		if op.read(lines.Text(), &l) != nil {
			break // half a line, or none of ours
		}
		switch {
		case l.Error != "":
			return did, &hinted{errors.New(l.Error), l.Hint}
		case l.Copied != nil:
			return *l.Copied, nil
		case l.Progress != nil:
			show.see(*l.Progress)
			begun = true
		}
	}
	if !begun {
		return did, op.another()
	}
	return did, fmt.Errorf("%s ended its answer in the middle: there is no backup", c.Admin)
}
