package main

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// healthCmd is poe health: for container engines, which can run nothing but what is in the image.
type healthCmd struct {
	Admin   string        `default:"127.0.0.1:8081" placeholder:"ADDR" help:"The admin listener of the server that is asked (${default})."`
	Ready   bool          `help:"Ask whether it can take new work (/readyz), not only whether it lives (/healthz)."`
	Timeout time.Duration `default:"3s" placeholder:"TIME" help:"How long it may take to answer (${default})."`

	AdminTokenFile string `placeholder:"FILE" help:"File with the token of the admin listener. Health is told without one, too."`
}

// Run succeeds if the server says that it is well.
func (c *healthCmd) Run(ctx context.Context, t terminal) error {
	path, well := "/healthz", "ok"
	if c.Ready {
		path, well = "/readyz", "ready"
	}
	op := operator{admin: c.Admin, tokenFile: c.AdminTokenFile, timeout: c.Timeout, command: "poe health"}
	said, err := op.ask(ctx, order{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	if first, _, _ := strings.Cut(said, "\n"); first != well {
		return op.another()
	}
	return t.print("%s\n", escaped(said))
}
