package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
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
	host, port, err := net.SplitHostPort(c.Admin)
	if err != nil {
		return &usageError{err: fmt.Errorf("--admin: %q is not an address (write :8081 or 127.0.0.1:8081)", c.Admin), command: "poe health"}
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // it listens everywhere; we are on the same machine
	}
	path := "/healthz"
	if c.Ready {
		path = "/readyz"
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", c.Admin, err)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return fmt.Errorf("asking %s: %w", c.Admin, err)
	}
	defer func() { _ = res.Body.Close() }() // read only
	said, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("asking %s: %w", c.Admin, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", c.Admin, res.Status, strings.TrimSpace(string(said)))
	}
	return t.print("%s\n", strings.TrimSpace(string(said)))
}
