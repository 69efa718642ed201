package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/postonce/poe/internal/tokens"
)

// keysCmd is poe keys.
type keysCmd struct {
	New    keysNewCmd    `cmd:"" help:"Make a key file with one new key."`
	List   keysListCmd   `cmd:"" help:"List the keys in a file, without their secrets."`
	Rotate keysRotateCmd `cmd:"" help:"Sign with a new key; the former ones still verify."`
	Retire keysRetireCmd `cmd:"" help:"Remove a key: what it signed is invalid from then on."`

	Release keysReleaseCmd `cmd:"" help:"Let the keys sign for another ledger than the one that they name."`
}

// newKey are the flags of the commands that make a key.
type newKey struct {
	Alg string `placeholder:"ALG" help:"HS256, or EdDSA where some nodes may verify but not mint."`
}

func (n newKey) request() (tokens.NewKey, error) {
	switch alg := tokens.Alg(n.Alg); alg {
	case "", tokens.HS256, tokens.EdDSA:
		return tokens.NewKey{Alg: alg, Now: time.Now()}, nil //nolint:forbidigo // the command is where time comes in
	default:
		return tokens.NewKey{}, &usageError{err: fmt.Errorf("--alg: %q is neither HS256 nor EdDSA", n.Alg), command: "poe keys"}
	}
}

type keysNewCmd struct {
	File string `arg:"" help:"File to make; one that is there is not overwritten."`
	Key  newKey `embed:""`
}

// Run makes a key file.
func (c *keysNewCmd) Run(t terminal) error {
	n, err := c.Key.request()
	if err != nil {
		return err
	}
	k, err := tokens.CreateFile(c.File, n)
	if err != nil {
		return err
	}
	t.say("made %s with key %s (%s)", c.File, k.ID, k.Alg)
	return nil
}

type keysListCmd struct {
	File string `arg:"" help:"Key file."`
}

// Run lists keys.
func (c *keysListCmd) Run(t terminal) error {
	all, err := tokens.ListFile(c.File)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	for _, k := range all {
		use, made := "verifies", "-"
		if k.Signing {
			use = "signs"
		}
		if !k.Created.IsZero() {
			made = k.Created.UTC().Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Alg, use, made); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

type keysRotateCmd struct {
	File string `arg:"" help:"Key file."`
	Key  newKey `embed:""`
}

// Run adds a key that signs.
func (c *keysRotateCmd) Run(t terminal) error {
	n, err := c.Key.request()
	if err != nil {
		return err
	}
	k, err := tokens.RotateFile(c.File, n)
	if err != nil {
		return err
	}
	t.say("key %s (%s) signs from now on; a running server takes it up by itself", k.ID, k.Alg)
	return nil
}

type keysRetireCmd struct {
	File string `arg:"" help:"Key file."`
	Kid  string `arg:"" help:"Id of the key, as list shows it."`
}

// Run removes a key.
func (c *keysRetireCmd) Run(t terminal) error {
	if err := tokens.RetireFile(c.File, c.Kid); err != nil {
		return err
	}
	t.say("key %s is gone; what it signed is invalid", c.Kid)
	return nil
}

type keysReleaseCmd struct {
	File string `arg:"" help:"Key file."`
}

// Help is shown after the flags.
func (keysReleaseCmd) Help() string {
	return `A key file names the ledger that it was first used for, and is refused for every other one: that is how an emptied
folder is noticed. After this the next ledger has it. Do so only where the former ledger is given up.`
}

// Run takes the ledger's name out of the file.
func (c *keysReleaseCmd) Run(t terminal) error {
	ledger, err := tokens.ReleaseFile(c.File)
	switch {
	case err != nil:
		return err
	case ledger == "":
		t.say("%s names no ledger", c.File)
	default:
		t.say("%s signed for ledger %s, and will for the next one that it is used for", c.File, ledger)
	}
	return nil
}
