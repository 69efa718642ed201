package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/postonce/poe/bench/internal/peers"
	"github.com/postonce/poe/bench/internal/proc"
)

// servers are the servers that run, by the names that subjects know them by. Each is started when it is first asked for, and
// stays until the end, so that rounds can be interleaved. What is not asked for is paused meanwhile: some take a good part of a processor when they only wait.
type servers struct {
	host    peers.Host
	running map[string]*server
	missing map[string]error // what could not be started because it is not installed
	seen    []*peers.Server  // all that ran, in the order of their start
}

// server is one of them, and what has been done on it.
type server struct {
	*peers.Server
	before  int64    // bytes of its folder when it was new
	actions int      // that it has executed since
	used    []string // POE URIs that were used, for its 405s and outcomes
}

// What floors are, and what is embedded.
const (
	around     = "poe.Config with its defaults, ledger in a folder, around the bare application"
	logOnly    = "no engine: poe.NewServer, two writes into a log that are synced in groups"
	ledgerOnly = "no engine: poe.NewServer, a claim and a settlement in poe's ledger"
)

// start starts one by its name.
func (s *servers) start(ctx context.Context, name string) (*peers.Server, error) {
	switch name {
	case "bare":
		return s.host.Role(name, peers.Role{Role: "bare", Behind: "nothing", Settings: "net/http with its defaults"})
	case "bare-poe-server":
		return s.host.Role(name, peers.Role{Role: name, Behind: "nothing", Settings: "poe.NewServer with its defaults"})
	case "embedded", "embedded-used":
		return s.host.Role(name, peers.Role{Role: "embedded", Settings: around + "; poe.NewServer, poe.RaiseTimerSlack and one processor more for Go's scheduler, as docs/embedding.md says"})
	case "embedded-net-http", "embedded-net-http-used":
		return s.host.Role(name, peers.Role{Role: "embedded-net-http", Settings: around + "; net/http with its defaults, poe.RaiseTimerSlack and one processor more for Go's scheduler"})
	case "floor-log":
		return s.host.Role(name, peers.Role{Role: name, Settings: logOnly})
	case "floor-ledger":
		return s.host.Role(name, peers.Role{Role: name, Settings: ledgerOnly})
	case "floor-answer":
		return s.host.Role(name, peers.Role{Role: name, Behind: "nothing", Settings: "poe.NewServer, and the fields and the content of an outcome, which is always the same"})
	case "fiber-memory":
		return s.host.Role(name, peers.Role{Role: "fiber-memory", Behind: "nothing", Settings: "Fiber " + peers.Module("github.com/gofiber/fiber/v3") + ", answers in its memory"})
	case "fiber-redis":
		return s.host.FiberRedis(ctx, name)
	case "table":
		return s.host.PostgresTable(ctx, name)
	case "restate":
		return s.host.Restate(ctx, name, 0)
	case "restate-few":
		return s.host.Restate(ctx, name, 4)
	}
	app, err := s.get(ctx, "bare")
	if err != nil {
		return nil, err
	}
	switch name {
	case "proxy":
		return s.host.Role(name, peers.Role{Role: "proxy", Behind: app.URL, Settings: "httputil.ReverseProxy, MaxIdleConnsPerHost 512, DisableCompression"})
	case "floor-log-gateway":
		return s.host.Role(name, peers.Role{Role: "floor-log", Upstream: app.URL, Settings: logOnly + ", and a hop without a check"})
	case "floor-ledger-gateway":
		return s.host.Role(name, peers.Role{Role: "floor-ledger", Upstream: app.URL, Settings: ledgerOnly + ", and poe's hop"})
	case "caddy":
		return s.host.Caddy(ctx, name, app.URL)
	case "nginx":
		return s.host.Nginx(ctx, name, app.URL)
	default:
		return s.host.Gateway(ctx, name, app.URL)
	}
}

// apart returns servers of the same kind, none of which runs.
func (s *servers) apart() servers {
	return servers{host: s.host, running: map[string]*server{}, missing: map[string]error{}}
}

// get returns a server that runs, and pauses others. One that is not installed is an error each time, and tried once.
func (s *servers) get(ctx context.Context, name string) (*server, error) {
	if err := s.turn(name); err != nil {
		return nil, err
	}
	if r, ok := s.running[name]; ok {
		return r, nil
	}
	if err, ok := s.missing[name]; ok {
		return nil, err
	}
	p, err := s.start(ctx, name)
	if errors.Is(err, peers.ErrMissing) {
		s.missing[name] = err
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	r := &server{Server: p}
	s.running[name], s.seen = r, append(s.seen, p)
	if p.Folder != "" {
		r.before, err = proc.DiskUse(p.Folder, p.Reserve)
	}
	return r, err
}

// turn pauses all but a server and the application, which may be what it stands in front of.
func (s *servers) turn(to string) error {
	var errs []error
	for name, r := range s.running {
		if name == to || name == "bare" {
			errs = append(errs, r.Resume())
		} else {
			errs = append(errs, r.Pause())
		}
	}
	return errors.Join(errs...)
}

// stop ends all of them, and returns how many bytes of disk each took for an action.
func (s *servers) stop() (map[string]int64, error) {
	var errs []error
	disk := map[string]int64{}
	for name, r := range s.running {
		errs = append(errs, r.Stop())
		if r.Folder == "" || r.actions == 0 {
			continue
		}
		after, err := proc.DiskUse(r.Folder, r.Reserve)
		errs = append(errs, err)
		disk[name] = max(0, after-r.before) / int64(r.actions)
	}
	clear(s.running)
	return disk, errors.Join(errs...)
}
