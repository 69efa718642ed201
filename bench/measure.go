package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/postonce/poe/bench/internal/peers"
	"github.com/postonce/poe/bench/internal/report"
	"github.com/postonce/poe/bench/internal/wrk"
)

// root is the project, from the folder in which this command is run.
const root = ".."

// measure builds the servers, measures, and reports.
func measure(ctx context.Context, out io.Writer, o options, args []string) (err error) {
	p, err := o.planned()
	if err != nil {
		return err
	}
	whole := !o.short && o.only == "" && o.profile == "" && o.against == ""
	if whole {
		if err := writable(); err != nil {
			return err // before all that time has passed
		}
	}
	folder, err := os.MkdirTemp("", "poe-bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if o.against != "" {
		return compare(ctx, out, p, folder, o.against)
	}
	b, err := open(ctx, p, folder, o.profile)
	if err != nil {
		return err
	}
	m, err := b.everything(ctx, folder)
	if err != nil {
		return err
	}
	text := b.text(ctx, m, args)
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if !whole {
		return nil
	}
	return b.write(m, text)
}

// writable checks that the report can be written when it is there.
func writable() error {
	page, err := os.ReadFile(performance())
	if err != nil {
		return fmt.Errorf("reading the page: %w", err)
	}
	_, err = report.Insert(string(page), "")
	return err
}

// everything measures, and stops all servers.
func (b *bench) everything(ctx context.Context, folder string) (m measured, err error) {
	all := b.chosen()
	defer func() {
		disk, stopped := b.servers.stop()
		err = errors.Join(err, stopped)
		m.setDisk(all, disk)
	}()
	if m.sync, err = b.syncTime(folder); err != nil {
		return m, err
	}
	if m.rows, err = b.measure(ctx, all); err != nil {
		return m, err
	}
	m.rates, err = b.paced(ctx, m.rows, all)
	return m, err
}

// setDisk tells each row that stores something how much that is.
func (m *measured) setDisk(all []subject, disk map[string]int64) {
	for _, s := range all {
		for i := range m.rows {
			if s.stores && m.rows[i].Name == s.name {
				m.rows[i].Disk = disk[s.server]
			}
		}
	}
}

// open finds wrk, and opens a bench.
func open(ctx context.Context, p plan, folder, profile string) (*bench, error) {
	load, err := wrk.Find(folder)
	if err != nil {
		return nil, err
	}
	b, err := opened(ctx, p, folder, profile)
	if err != nil {
		return nil, err
	}
	b.wrk = load
	return b, nil
}

// opened builds poe as the Makefile does, and finds the rest. Without wrk a bench has paced runs only.
func opened(ctx context.Context, p plan, folder, profile string) (*bench, error) {
	if err := os.Chmod(folder, 0o711); err != nil { //nolint:gosec // PostgreSQL runs as somebody else, and must pass
		return nil, fmt.Errorf("opening the folder: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	if out, err := exec.CommandContext(ctx, "make", "-C", root, "build").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building poe: %w\n%s", err, out)
	}
	binary, err1 := filepath.Abs(filepath.Join(root, "bin", "poe"))
	modules, err2 := filepath.Abs("node_modules")
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("finding the servers: %w", err)
	}
	host := peers.Host{Folder: folder, Self: self, Poe: binary, Modules: modules, Profile: profile}
	b := &bench{
		plan: p, progress: os.Stderr,
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
	b.servers = (&servers{host: host}).apart()
	b.clock = time.Now
	return b, nil
}
