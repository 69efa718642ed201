package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/postonce/poe/internal/client"
)

// mintCmd is poe mint.
type mintCmd struct {
	URL     string         `arg:"" help:"What is to be done, e.g. https://api.example.com/orders."`
	Count   int            `default:"1" placeholder:"N" help:"How many (${default})."`
	TTL     *time.Duration `placeholder:"TIME" help:"How long they may wait; the route's time if not given, and at most that."`
	Method  string         `placeholder:"METHOD" help:"What they are for: POST, PUT, PATCH or DELETE; the route's first, POST before others."`
	JSON    bool           `help:"Print ids and expiry as well."`
	Timeout time.Duration  `default:"30s" placeholder:"TIME" help:"For the answer (${default})."`
	Remote  remote         `embed:""`
}

// Run prints POE URIs, one a line.
func (c *mintCmd) Run(ctx context.Context, t terminal) error {
	if c.Count < 1 {
		return &usageError{err: fmt.Errorf("--count: %d is less than one", c.Count), command: "poe mint"}
	}
	times := map[string]time.Duration{"--timeout": c.Timeout}
	req := client.MintRequest{URL: c.URL, Method: c.Method, Count: c.Count}
	if c.TTL != nil { // no time is another wish than none
		req.TTL, times["--ttl"] = *c.TTL, *c.TTL
	}
	if err := positive("poe mint", times); err != nil {
		return err
	}
	cfg, err := c.Remote.config(c.Timeout)
	if err != nil {
		return err
	}
	all, err := client.New(cfg).Mint(ctx, req)
	if err != nil {
		return err
	}
	if c.JSON {
		text, err := json.MarshalIndent(struct {
			URIs []client.Minted `json:"uris"`
		}{all}, "", "  ")
		if err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return t.print("%s\n", text)
	}
	for _, one := range all {
		if err := t.print("%s\n", one.URI); err != nil {
			return err
		}
	}
	return nil
}
