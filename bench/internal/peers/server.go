// Package peers starts the servers of a measurement, each with settings that are fair to it, on the loopback.
package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/postonce/poe/bench/internal/proc"
)

// ErrMissing says that a peer is not installed.
var ErrMissing = errors.New("not installed: make bench-install")

// started is how long a server may take to listen.
const started = 30 * time.Second

// Host is what all servers share.
type Host struct {
	Folder  string // for what they store; others may pass through it
	Self    string // this program, for the servers in Go
	Poe     string // the poe binary
	Modules string // node_modules, for Restate
	Profile string // folder for CPU profiles of the servers in Go; "": none
}

// Server is a server that runs.
type Server struct {
	Name, Version, Settings string
	URL                     string
	Admin                   string // address at which it shows profiles; "": none
	Folder                  string // what it stores; "": nothing
	Reserve                 string // a file of this name in it is room set aside, and says nothing of what is stored

	counted []*proc.Process // whose CPU time and memory are its own
	beside  []*proc.Process // what it needs, and is not its cost
	again   func() (*proc.Process, error)
}

// PIDs returns the processes that are its cost.
func (s *Server) PIDs() []int {
	pids := make([]int, len(s.counted))
	for i, p := range s.counted {
		pids[i] = p.PID()
	}
	return pids
}

// Alive is an error if one of its processes has ended by itself.
func (s *Server) Alive() error { return s.each((*proc.Process).Alive) }

// Pause keeps it from taking anything of the processors until Resume.
func (s *Server) Pause() error { return s.each((*proc.Process).Pause) }

// Resume ends a pause. Without one it does nothing.
func (s *Server) Resume() error { return s.each((*proc.Process).Resume) }

// Stop ends it.
func (s *Server) Stop() error { return s.each((*proc.Process).Stop) }

func (s *Server) each(do func(*proc.Process) error) error {
	var errs []error
	for _, p := range append(s.counted, s.beside...) {
		errs = append(errs, do(p))
	}
	return errors.Join(errs...)
}

// Restart ends it and starts it again with what it has stored.
func (s *Server) Restart() error {
	if err := s.Stop(); err != nil {
		return err
	}
	p, err := s.again()
	if err != nil {
		return err
	}
	s.counted = []*proc.Process{p}
	return nil
}

// folder makes a folder for one server.
func (h *Host) folder(name string) (string, error) {
	dir, err := os.MkdirTemp(h.Folder, name+"-")
	if err != nil {
		return "", fmt.Errorf("making a folder for %s: %w", name, err)
	}
	return dir, nil
}

// find finds a program of Debian. Those that only root runs may be off the path.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, ErrMissing)
	}
	return path, nil
}

// said returns the first line that a program says with these arguments, wherever it says it.
func said(ctx context.Context, path string, args ...string) string {
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput() //nolint:gosec // the version of a peer
	if err != nil {
		return "version unknown: " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// free returns an address on the loopback that nobody listens on.
func free() (string, error) {
	port, err := proc.FreePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

// start starts a process and waits until it listens.
func start(spec proc.Spec, address string) (*proc.Process, error) {
	p, err := proc.Start(spec)
	if err != nil {
		return nil, err
	}
	if err := p.Listening(address, started); err != nil {
		_ = p.Stop() // it said what was wrong
		return nil, err
	}
	return p, nil
}
