// Package wrk puts a server under the load of wrk, with requests that differ.
package wrk

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // the script that wrk runs
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed load.lua
var script []byte

// ErrMissing says that wrk is not installed. Nothing takes its place: figures of two load generators cannot be compared.
var ErrMissing = errors.New("wrk is not installed: make bench-install")

// Mode is how the requests differ.
type Mode string

// The modes.
const (
	Once  Mode = "once"  // each target of a list once; the round ends with the list
	Again Mode = "again" // the targets of a list, again and again
	Keyed Mode = "keyed" // one target, with another UUID in a field each time
	Mint  Mode = "mint"  // GET a POE URI, then POST to it
)

// Load is what is sent in one round.
type Load struct {
	Mode    Mode
	URL     string   // scheme, host, and for Keyed the path
	Method  string   // "": POST
	Targets []string // of Once and Again
	Key     string   // the field of Keyed
	Mint    string   // the target of Mint
	Body    string
	Header  map[string]string

	Connections int
	Duration    time.Duration
}

// Result is what wrk counted.
type Result struct {
	Requests int           // answers
	Took     time.Duration // from the first connection to the last answer
	P50, P99 time.Duration // corrected by wrk for the requests that it would have sent while it waited
	Above399 int           // answers with such a status
	Minted   int           // of Mint: answers 200
	Posted   int           // of Mint: answers 201
	UsedUp   bool          // of Once: a thread came to the end of its share
}

// Wrk is an installed wrk, and the folder for what it reads.
type Wrk struct {
	path, folder string
	round        uint32 // distinguishes keys
}

// Find finds wrk on the path, or returns ErrMissing. Its files go into the folder.
func Find(folder string) (*Wrk, error) {
	path, err := exec.LookPath("wrk")
	if err != nil {
		return nil, ErrMissing
	}
	w := &Wrk{path: path, folder: folder}
	return w, os.WriteFile(w.file("load.lua"), script, 0o600)
}

// Version returns what wrk calls itself.
func (w *Wrk) Version(ctx context.Context) string {
	out, _ := exec.CommandContext(ctx, w.path, "-v").Output() //nolint:gosec // wrk; it ends with 1 after it has told its version
	line, _, _ := strings.Cut(string(out), " Copyright")
	return line
}

func (w *Wrk) file(name string) string { return filepath.Join(w.folder, name) }

// Run runs one round. It ends when its time is over or, of Once, with the list.
//
// A round in which a connection broke or timed out is an error. What the statuses must be is the caller's to judge.
func (w *Wrk) Run(ctx context.Context, l Load) (Result, error) {
	args, err := w.arguments(l)
	if err != nil {
		return Result{}, err
	}
	cmd := exec.CommandContext(ctx, w.path, args...) //nolint:gosec // wrk, with files of ours
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 2 * time.Second // then it is killed
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return Result{}, fmt.Errorf("starting wrk: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("starting wrk: %w", err)
	}
	c := conductor{
		threads: l.threads(), duration: l.Duration,
		begin: func(lines string) error { _, err := io.WriteString(in, lines); return err },
		stop:  func() { _ = cmd.Process.Signal(syscall.SIGINT) }, // it may just have ended
	}
	said, err := c.listen(out)
	if err != nil {
		_ = cmd.Process.Kill() // nobody would tell it to end
	}
	if err := errors.Join(err, cmd.Wait(), ctx.Err()); err != nil {
		return Result{}, fmt.Errorf("running wrk: %w\n%s%s", err, said, complaint.Bytes())
	}
	r, err := Parse(said)
	if err != nil {
		return Result{}, fmt.Errorf("%w\n%s", err, complaint.Bytes())
	}
	return r, nil
}

// threads is how many threads wrk gets: what sends must not be short of what serves, and takes less.
func (l *Load) threads() int { return min(2, l.Connections) }

// conductor tells wrk when a round begins and ends.
type conductor struct {
	threads  int
	duration time.Duration
	begin    func(lines string) error
	stop     func()
}

// insist is how long wrk has for a signal before it gets another: it ignores those that come before it has made all its threads, and sleeps on after
// those that come before its sleep.
const insist = 20 * time.Millisecond

// listen reads what wrk says to its end. All threads begin when the last is ready. It stops wrk when the duration is over, or when the targets are used
// up: wrk itself counts whole seconds only, and would go on counting them with nothing left to send.
func (c *conductor) listen(out io.Reader) ([]byte, error) {
	var said bytes.Buffer
	ready, over, ended := 0, make(chan struct{}), make(chan struct{})
	var stopping sync.WaitGroup
	defer stopping.Wait()
	defer close(ended)
	stop := sync.OnceFunc(func() { close(over) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said.Write(lines.Bytes())
		said.WriteByte('\n')
		switch lines.Text() {
		case "bench: ready":
			if ready++; ready < c.threads {
				continue
			}
			stopping.Go(func() { c.end(over, ended) })
			if err := c.begin(strings.Repeat("go\n", c.threads)); err != nil {
				stop()
				return said.Bytes(), fmt.Errorf("beginning: %w", err)
			}
		case "bench: out":
			stop()
		}
	}
	return said.Bytes(), lines.Err()
}

// end stops wrk when the round is over, again and again until it has ended.
func (c *conductor) end(over, ended <-chan struct{}) {
	limit, again := time.NewTimer(c.duration), time.NewTicker(insist)
	defer limit.Stop()
	defer again.Stop()
	select {
	case <-over:
	case <-limit.C:
	case <-ended:
		return
	}
	for {
		c.stop()
		select {
		case <-again.C:
		case <-ended:
			return
		}
	}
}

// arguments writes the files of a round, and returns the command line.
func (w *Wrk) arguments(l Load) ([]string, error) {
	threads := l.threads()
	w.round++
	args := []string{
		"-t", strconv.Itoa(threads), "-c", strconv.Itoa(l.Connections), "-d", "1h", "--timeout", "10s", "-s", w.file("load.lua"), l.URL, "--",
		"mode=" + string(l.Mode), "threads=" + strconv.Itoa(threads), fmt.Sprintf("seed=%08x", w.round),
	}
	option := func(name, value string) {
		if value != "" {
			args = append(args, name+"="+value)
		}
	}
	option("method", l.Method)
	option("key", l.Key)
	option("mint", l.Mint)
	for name, value := range l.Header {
		option("header", name+": "+value)
	}
	if l.Body != "" {
		option("body", w.file("body"))
		if err := os.WriteFile(w.file("body"), []byte(l.Body), 0o600); err != nil {
			return nil, fmt.Errorf("writing the body for wrk: %w", err)
		}
	}
	if l.Targets != nil {
		if len(l.Targets) < threads {
			return nil, fmt.Errorf("%d targets are not enough for %d threads", len(l.Targets), threads)
		}
		option("file", w.file("targets"))
		if err := os.WriteFile(w.file("targets"), []byte(strings.Join(l.Targets, "\n")), 0o600); err != nil {
			return nil, fmt.Errorf("writing the targets for wrk: %w", err)
		}
	}
	return args, nil
}

// Parse reads what wrk and its script said in a round.
func Parse(said []byte) (Result, error) {
	var r Result
	var counted *struct {
		Requests, Microseconds, Broken, P50, P99, Minted, Posted, Others int
		Above399                                                         int `json:"above_399"`
	}
	for line := range bytes.Lines(said) {
		word, ours := bytes.CutPrefix(bytes.TrimSpace(line), []byte("bench: "))
		switch {
		case !ours, string(word) == "ready":
		case string(word) == "out":
			r.UsedUp = true
		default:
			if err := json.Unmarshal(word, &counted); err != nil {
				return Result{}, fmt.Errorf("reading what wrk counted: %w in %q", err, word)
			}
		}
	}
	switch {
	case counted == nil:
		return Result{}, fmt.Errorf("wrk has counted nothing: %q", said)
	case counted.Broken > 0 || counted.Others > 0:
		return Result{}, fmt.Errorf("wrk met %d broken connections and timeouts, and %d answers of another status", counted.Broken, counted.Others)
	case counted.Requests == 0 || counted.Microseconds == 0:
		return Result{}, fmt.Errorf("wrk got no answer: %q", said)
	}
	r.Requests, r.Above399, r.Minted, r.Posted = counted.Requests, counted.Above399, counted.Minted, counted.Posted
	r.Took = time.Duration(counted.Microseconds) * time.Microsecond
	r.P50, r.P99 = time.Duration(counted.P50)*time.Microsecond, time.Duration(counted.P99)*time.Microsecond
	return r, nil
}
