package peers

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/postonce/poe/bench/internal/proc"
)

// reserve is the file that poe keeps beside a ledger, for the day when the disk is full.
const reserve = "reserve"

// Role is a server in Go of this program.
type Role struct {
	Role     string
	Behind   string // what it rests on; "": a folder of its own
	Upstream string // the application in front of which it stands; "": it needs none
	Settings string
}

// Role starts one of the servers in Go.
func (h *Host) Role(name string, r Role) (*Server, error) {
	s := &Server{Name: name, Version: "Go " + goVersion(), Settings: r.Settings}
	if r.Behind == "" {
		dir, err := h.folder(r.Role)
		if err != nil {
			return nil, err
		}
		s.Folder, s.Reserve, r.Behind = dir, reserve, filepath.Join(dir, "ledger")
	}
	p, at, err := h.role(name, r)
	if err != nil {
		return nil, err
	}
	s.URL, s.counted = "http://"+at, []*proc.Process{p}
	return s, nil
}

// role starts this program as a server.
func (h *Host) role(name string, r Role) (p *proc.Process, address string, err error) {
	if address, err = free(); err != nil {
		return nil, "", err
	}
	args := []string{"-serve", r.Role, "-listen", address, "-behind", r.Behind, "-upstream", r.Upstream}
	if h.Profile != "" {
		args = append(args, "-profile", filepath.Join(h.Profile, strings.ReplaceAll(name, " ", "-")+".prof"))
	}
	p, err = start(proc.Spec{Name: name, Path: h.Self, Args: args}, address)
	return p, address, err
}

// Gateway starts poe serve, as people run it, in front of the application. It can be started again.
func (h *Host) Gateway(ctx context.Context, name, app string) (*Server, error) {
	dir, err := h.folder("gateway")
	if err != nil {
		return nil, err
	}
	address, err := free()
	if err != nil {
		return nil, err
	}
	admin := ""
	if h.Profile != "" {
		if admin, err = free(); err != nil {
			return nil, err
		}
	}
	spec := proc.Spec{Name: "poe serve", Path: h.Poe, Args: []string{
		"serve", "--listen", address, "--admin", admin, "--upstream", app, "--store", "pebble:" + filepath.Join(dir, "ledger"), "--log-level", "warn",
	}}
	s := &Server{
		Name: name, URL: "http://" + address, Admin: admin, Folder: dir, Reserve: reserve, Version: said(ctx, h.Poe, "version"),
		Settings: "poe serve with its defaults, ledger in a folder, log level warn",
		again:    func() (*proc.Process, error) { return start(spec, address) },
	}
	p, err := s.again()
	if err != nil {
		return nil, err
	}
	s.counted = []*proc.Process{p}
	return s, nil
}
