// Command bench measures what poe costs against what people use instead: each server in a process of its own, all under the same load in turn,
// interleaved, and compared by the medians of several rounds. It prints tables in Markdown, and writes them with a plot into ../docs.
//
//	go run . [-connections 1,16,64,256] [-rounds 5] [-duration 4s] [-only regexp] [-profile DIR] [-short] [-against DIR]
//
// Requests a second on a machine that carries the load as well swing with everything else that it does; the CPU time that a request costs the
// server's processes is the steadier figure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postonce/poe/bench/internal/roles"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	connections, only, profile, against string

	rounds   int
	duration time.Duration
	short    bool

	role   string // be a server
	server roles.Config
}

func run(ctx context.Context, out io.Writer, args []string) error {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.connections, "connections", "1,16,64,256", "numbers of keep-alive connections")
	f.IntVar(&o.rounds, "rounds", 5, "rounds, of which the median counts; at most 2 at numbers of connections that no goal is for")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "of a round")
	f.StringVar(&o.only, "only", "", "measure only the rows whose name matches; nothing is written to docs")
	f.StringVar(&o.profile, "profile", "", "folder for CPU profiles of poe and the other servers in Go; nothing is written to docs")
	f.StringVar(&o.against, "against", "", "folder with the programs bench and poe of another revision: measure both in pairs of rounds; nothing is written to docs")
	f.BoolVar(&o.short, "short", false, "a smoke run: 16 connections, one round of 0.3 s; nothing is written to docs")
	f.StringVar(&o.role, "serve", "", "be a server (internal)")
	f.StringVar(&o.server.Listen, "listen", "", "of -serve (internal)")
	f.StringVar(&o.server.Behind, "behind", "", "of -serve (internal)")
	f.StringVar(&o.server.Upstream, "upstream", "", "of -serve (internal)")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.role == "" {
		return measure(ctx, out, o, args)
	}
	serve, ok := roles.Roles()[o.role]
	if !ok {
		return fmt.Errorf("no server %q", o.role)
	}
	return profiled(o.profile, func() error { return serve(ctx, o.server) })
}

// profiled runs f, and writes its CPU profile into the file unless that is "".
func profiled(file string, f func() error) (err error) {
	if file == "" {
		return f()
	}
	out, err := os.Create(file) //nolint:gosec // where the caller says
	if err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return fmt.Errorf("profiling: %w", err)
	}
	defer func() {
		pprof.StopCPUProfile()
		err = errors.Join(err, out.Close())
	}()
	return f()
}

// planned reads the flags.
func (o *options) planned() (plan, error) {
	p := plan{rounds: o.rounds, duration: o.duration, short: o.short}
	if o.short {
		p.rounds, p.duration, o.connections = 1, 300*time.Millisecond, "16"
	}
	for s := range strings.SplitSeq(o.connections, ",") {
		c, err := strconv.Atoi(s)
		if err != nil || c < 1 {
			return p, fmt.Errorf("-connections: %q is not a number of connections", s)
		}
		p.connections = append(p.connections, c)
	}
	if p.rounds < 1 || p.duration <= 0 {
		return p, errors.New("-rounds and -duration must be above 0")
	}
	var err error
	if p.only, err = regexp.Compile(o.only); err != nil {
		return p, fmt.Errorf("-only: %w", err)
	}
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err != nil {
			return p, fmt.Errorf("-profile: %w", err)
		}
	}
	return p, nil
}
