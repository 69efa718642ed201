package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/postonce/poe/bench/internal/peers"
	"github.com/postonce/poe/bench/internal/report"
	"github.com/postonce/poe/bench/internal/wrk"
)

// root is the project, from the folder in which this command is run.
const root = ".."

// measure builds the servers, measures, and reports.
func measure(ctx context.Context, o options, args []string) (err error) {
	p, err := o.planned()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "poe-bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	b, err := open(ctx, p, folder, o.profile)
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(subjects(), func(s subject) bool { return !p.only.MatchString(s.name) })
	rows, err := b.measure(ctx, all)
	_, stopped := b.servers.stop()
	if err := errors.Join(err, stopped); err != nil {
		return err
	}
	for _, c := range p.connections {
		rows.Table(os.Stdout, c)
		fmt.Println()
	}
	rows.Goals(os.Stdout, goals(), compared)
	_ = args
	_ = report.Rows{}
	return nil
}

// open builds poe as the Makefile does, and finds the rest.
func open(ctx context.Context, p plan, folder, profile string) (*bench, error) {
	if err := os.Chmod(folder, 0o711); err != nil { //nolint:gosec // PostgreSQL runs as somebody else, and must pass
		return nil, fmt.Errorf("opening the folder: %w", err)
	}
	load, err := wrk.Find(folder)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	if out, err := exec.CommandContext(ctx, "make", "-C", root, "build").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building poe: %w\n%s", err, out)
	}
	binary, err1 := filepath.Abs(filepath.Join(root, "bin", "poe"))
	modules, err2 := filepath.Abs(nodeModules("."))
	host := peers.Host{Folder: folder, Self: self, Poe: binary, Modules: modules, Profile: profile}
	return &bench{
		plan: p, wrk: load, clock: time.Now, out: os.Stderr,
		client:  &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
		servers: servers{host: host, running: map[string]*server{}, missing: map[string]error{}},
	}, errors.Join(err1, err2)
}
