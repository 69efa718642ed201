// Command bench measures what the gate costs: each server in a process of its own, all under the same load in turn,
// interleaved, and compared by the medians of several rounds. It prints a table in Markdown.
//
//	go run ./internal/bench [-connections 64] [-requests 20000] [-rounds 5]
//
// Requests a second on a machine that carries the load as well swing with everything else that it does; the CPU time
// that a request costs the server's process is the steadier figure.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A subject is one server under test.
type subject struct {
	name string
	base string // the subject whose requests a second are 1
	url  string
	pid  int
	poe  bool // it takes POE URIs, which must be minted first
	kind load
}

// load is what is sent.
type load int

const (
	firstPosts load = iota // each to a URI of its own
	repeats                // all to a URI that was used
	outcomes               // GET on a URI that was used
	mints                  // GET /poe/new
)

func main() {
	connections := flag.Int("connections", 64, "keep-alive connections")
	requests := flag.Int("requests", 20000, "requests in a round")
	rounds := flag.Int("rounds", 5, "rounds, of which the median counts")
	role := flag.String("serve", "", "be a server: bare, embedded, proxy or gateway (internal)")
	upstream := flag.String("upstream", "", "of proxy and gateway (internal)")
	only := flag.String("only", "", "run only the subjects whose name contains this")
	profile := flag.String("profile", "", "folder for CPU profiles of the servers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *role != "" {
		err = profiled(*profile, *role, func() error { return serve(ctx, *role, *upstream) })
	} else {
		err = measure(ctx, plan{connections: *connections, requests: *requests, rounds: *rounds, only: *only, profile: *profile})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop is called just above
	}
}

type plan struct {
	connections, requests, rounds int
	only, profile                 string
}

// profiled runs f, and writes its CPU profile into dir unless that is empty.
func profiled(dir, name string, f func() error) (err error) {
	if dir == "" {
		return f()
	}
	out, err := os.Create(filepath.Join(dir, name+".prof")) //nolint:gosec // where the caller says
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

// start runs this program again as a server and returns its address.
func (p *plan) start(ctx context.Context, role, upstream string) (*exec.Cmd, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "-serve", role, "-upstream", upstream, "-profile", p.profile) //nolint:gosec // ourselves
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", fmt.Errorf("starting %s: %w", role, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("starting %s: %w", role, err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, "", fmt.Errorf("starting %s: %w", role, err)
	}
	return cmd, strings.TrimSpace(line), nil
}

// measure runs every subject in turn, rounds times, and prints the medians.
func measure(ctx context.Context, p plan) error {
	ctx, stop := context.WithCancel(ctx)
	var servers []*exec.Cmd
	defer func() {
		stop()
		for _, s := range servers {
			_ = s.Wait() // ended by stop
		}
	}()
	begin := func(role, upstream string) (url string, pid int, err error) {
		cmd, url, err := p.start(ctx, role, upstream)
		if err != nil {
			return "", 0, err
		}
		servers = append(servers, cmd)
		return url, cmd.Process.Pid, nil
	}
	bare, barePID, err1 := begin("bare", "")
	embedded, embeddedPID, err2 := begin("embedded", "")
	proxy, proxyPID, err3 := begin("proxy", bare)
	gate, gatePID, err4 := begin("gateway", bare)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	all := []*subject{
		{name: "bare handler: POST", url: bare, pid: barePID},
		{name: "embedded: first POST", base: "bare handler: POST", url: embedded, pid: embeddedPID, poe: true},
		{name: "embedded: 405", base: "bare handler: POST", url: embedded, pid: embeddedPID, poe: true, kind: repeats},
		{name: "embedded: outcome from the front", base: "bare handler: POST", url: embedded, pid: embeddedPID, poe: true, kind: outcomes},
		{name: "embedded: minting", base: "bare handler: POST", url: embedded, pid: embeddedPID, poe: true, kind: mints},
		{name: "httputil.ReverseProxy: POST", url: proxy, pid: proxyPID},
		{name: "gateway: first POST", base: "httputil.ReverseProxy: POST", url: gate, pid: gatePID, poe: true},
		{name: "gateway: 405", base: "httputil.ReverseProxy: POST", url: gate, pid: gatePID, poe: true, kind: repeats},
	}
	all = slices.DeleteFunc(all, func(s *subject) bool { return !strings.Contains(s.name, p.only) })
	results := map[string][]result{}
	for round := range p.rounds + 1 {
		for _, s := range all {
			n := p.requests
			if round == 0 {
				n = p.requests / 10 // to warm up
			}
			r, err := s.run(ctx, p.connections, n)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 {
				results[s.name] = append(results[s.name], r)
			}
		}
	}
	table(os.Stdout, p, all, results)
	return nil
}

// result is what one round showed.
type result struct {
	perSecond float64
	cpu       time.Duration // of the server's process, a request
	p50, p99  time.Duration
}

func table(w *os.File, p plan, all []*subject, results map[string][]result) {
	mid := map[string]result{}
	for name, rs := range results {
		mid[name] = result{
			perSecond: median(rs, func(r result) float64 { return r.perSecond }),
			cpu:       time.Duration(median(rs, func(r result) float64 { return float64(r.cpu) })),
			p50:       time.Duration(median(rs, func(r result) float64 { return float64(r.p50) })),
			p99:       time.Duration(median(rs, func(r result) float64 { return float64(r.p99) })),
		}
	}
	_, _ = fmt.Fprintf(w, "%d connections, %d requests a round, medians of %d interleaved rounds\n\n", p.connections, p.requests, p.rounds)
	_, _ = fmt.Fprintln(w, "| | requests/s | ratio | server CPU µs a request | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|---:|")
	for _, s := range all {
		r, ratio := mid[s.name], "1"
		if base, ok := mid[s.base]; ok {
			ratio = fmt.Sprintf("%.2f", r.perSecond/base.perSecond)
		}
		_, _ = fmt.Fprintf(w, "| %s | %.0f | %s | %.1f | %.2f | %.2f |\n", s.name, r.perSecond, ratio,
			float64(r.cpu.Nanoseconds())/1e3, float64(r.p50.Microseconds())/1e3, float64(r.p99.Microseconds())/1e3)
	}
}

func median(rs []result, of func(result) float64) float64 {
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = of(r)
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}
