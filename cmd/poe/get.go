package main

import (
	"context"
	"time"

	"github.com/postonce/poe/internal/client"
)

// getCmd is poe get.
type getCmd struct {
	URL     string        `arg:"" help:"A POE URI, or the address of an outcome."`
	Receipt bool          `help:"Get the receipt: when, how often, by which door, and what came of it."`
	Include bool          `short:"i" help:"Print status and fields as well."`
	Timeout time.Duration `default:"30s" placeholder:"TIME" help:"For the answer (${default})."`
	Remote  remote        `embed:""`
}

// Help is shown after the flags.
func (getCmd) Help() string {
	return `Exit code 0: the answer is a success (2xx or 3xx). Of an action that is not done, or of which nobody knows whether it is, that
answer says where it stands, and is a success too: POE-State, which --include prints, tells them apart.`
}

// Run prints an outcome or a receipt.
func (c *getCmd) Run(ctx context.Context, t terminal) error {
	if err := positive("poe get", map[string]time.Duration{"--timeout": c.Timeout}); err != nil {
		return err
	}
	cfg, err := c.Remote.config(c.Timeout)
	if err != nil {
		return err
	}
	poe := client.New(cfg)
	get := poe.Get
	if c.Receipt {
		get = poe.Receipt
	}
	a, err := get(ctx, c.URL)
	if err != nil {
		return err
	}
	if err := t.show(a, c.Include); err != nil {
		return err
	}
	if c.Receipt || a.OK() {
		return nil
	}
	return errSilent
}
