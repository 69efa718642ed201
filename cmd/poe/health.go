package main

import (
	"context"
	"time"
)

// healthCmd is poe health: for container engines, which can run nothing but what is in the image.
type healthCmd struct {
	Admin   string        `default:"127.0.0.1:8081" placeholder:"ADDR" help:"The admin listener of the server that is asked."`
	Ready   bool          `help:"Ask whether it can take new work (/readyz), not only whether it lives (/healthz)."`
	Timeout time.Duration `default:"3s" placeholder:"TIME" help:"How long it may take to answer."`
}

// Run succeeds if the server says that it is well.
func (c *healthCmd) Run(ctx context.Context, t terminal) error {
	path := "/healthz"
	if c.Ready {
		path = "/readyz"
	}
	said, err := operator{admin: c.Admin, timeout: c.Timeout, command: "poe health"}.ask(ctx, "GET", path)
	if err != nil {
		return err
	}
	return t.print("%s\n", said)
}
