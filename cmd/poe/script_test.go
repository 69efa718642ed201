package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postonce/poe/internal/shop"
)

// patience is how long a script waits for something that should happen at once; the machine may be busy.
const patience = 30 * time.Second

type processesKey struct{}

// A process is one that a script started and goes on beside.
type process struct {
	cmd  *exec.Cmd
	out  string // file with what it prints
	err  string // file with what it says
	done chan struct{}
}

func processes(ts *testscript.TestScript) map[string]*process {
	return ts.Value(processesKey{}).(map[string]*process)
}

func named(ts *testscript.TestScript, name string) *process {
	p := processes(ts)[name]
	if p == nil {
		ts.Fatalf("nothing is called %s", name)
	}
	return p
}

// start NAME poe ARGS… starts the command beside the script; what it prints goes to NAME.out and NAME.err. If it serves,
// start waits until it does, and $NAME is its URL, $NAME_ADDR its address, $NAME_ADMIN the one of its admin listener.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "poe" {
		ts.Fatalf("usage: start NAME poe ARGS…")
	}
	name := args[0]
	p := &process{out: ts.MkAbs(name + ".out"), err: ts.MkAbs(name + ".err"), done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), find(ts, args[1]), args[2:]...)
	p.cmd.Dir, p.cmd.Env = ts.Getenv("WORK"), environment(ts)
	out, err := os.Create(p.out)
	ts.Check(err)
	said, err := os.Create(p.err)
	ts.Check(err)
	p.cmd.Stdout, p.cmd.Stderr = out, said
	ts.Check(p.cmd.Start())
	processes(ts)[name] = p
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // finish looks at the state
		_ = errors.Join(out.Close(), said.Close())
	}()
	ts.Defer(func() {
		_ = p.cmd.Process.Kill() // it has ended, mostly
		<-p.done
	})
	if args[2] == "serve" || args[2] == "demo" {
		url := waitFor(ts, p, `(?:"url":"|shop is open: )(http[^/]*//[^/"]*)`)
		ts.Setenv(name, url)
		ts.Setenv(name+"_ADDR", url[strings.Index(url, "//")+2:])
	}
	if args[2] == "serve" {
		if admin := waitFor(ts, p, `"admin":"([^"]*)"`); admin != "" {
			ts.Setenv(name+"_ADMIN", admin[strings.Index(admin, "//")+2:])
		}
	}
}

// code N poe ARGS… runs the command and compares its exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N poe ARGS…")
	}
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d", got)
	}
}

// find looks a command up where the script would.
func find(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, name); fileExists(path) {
			return path
		}
	}
	ts.Fatalf("%s is not in PATH", name)
	return ""
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// environment is that of the script, with what scripts set of ours.
func environment(ts *testscript.TestScript) []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "WORK", "POE_LISTEN", "POE_ADMIN", "POE_TTL", "POE_REQUIRE", "POE_REQUIRED"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// say NAME REGEXP waits until a process that was started has printed or said that.
func say(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: say NAME REGEXP")
	}
	waitFor(ts, named(ts, args[0]), args[1])
}

func waitFor(ts *testscript.TestScript, p *process, pattern string) string {
	re := regexp.MustCompile(pattern)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		text := ts.ReadFile(p.out) + ts.ReadFile(p.err)
		if m := re.FindStringSubmatch(text); m != nil {
			return m[len(m)-1]
		}
		if ended {
			ts.Fatalf("it ended without %s:\n%s", pattern, text)
		}
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("no %s in:\n%s", pattern, text)
		}
	}
}

// end [-9|-2] NAME sends SIGTERM, SIGKILL or SIGINT and waits for the end. After SIGTERM the exit code must be 0.
func end(ts *testscript.TestScript, neg bool, args []string) {
	sig := syscall.SIGTERM
	if len(args) == 2 {
		n, err := strconv.Atoi(strings.TrimPrefix(args[0], "-"))
		ts.Check(err)
		sig, args = syscall.Signal(n), args[1:]
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: end [-9|-2] NAME")
	}
	p := named(ts, args[0])
	ts.Check(p.cmd.Process.Signal(sig))
	wait(ts, p)
	if code := p.cmd.ProcessState.ExitCode(); sig == syscall.SIGTERM && code != 0 {
		ts.Fatalf("exit code %d:\n%s", code, ts.ReadFile(p.err))
	}
}

// finish CODE NAME waits for the end of a process and compares its exit code.
func finish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: finish CODE NAME")
	}
	p := named(ts, args[1])
	wait(ts, p)
	if code := strconv.Itoa(p.cmd.ProcessState.ExitCode()); code != args[0] {
		ts.Fatalf("exit code %s:\n%s", code, ts.ReadFile(p.err))
	}
}

func wait(ts *testscript.TestScript, p *process) {
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("it does not end:\n%s", ts.ReadFile(p.err))
	}
}

// http METHOD URL [-H 'NAME: VALUE']… [BODY] makes a request and prints status, fields and body.
func exchange(ts *testscript.TestScript, neg bool, args []string) {
	text, err := do(args)
	if neg {
		if err == nil {
			ts.Fatalf("there is an answer:\n%s", text)
		}
		return
	}
	ts.Check(err)
	_, err = io.WriteString(ts.Stdout(), text)
	ts.Check(err)
}

// await REGEXP METHOD URL … makes the same request until the answer has that in it.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: await REGEXP METHOD URL …")
	}
	re := regexp.MustCompile(args[0])
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		text, err := do(args[1:])
		if err == nil && re.MatchString(text) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("no %s: %v\n%s", args[0], err, text)
		}
	}
}

func do(args []string) (string, error) {
	if len(args) < 2 {
		return "", errors.New("usage: http METHOD URL [-H 'NAME: VALUE']… [BODY]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, args[0], args[1], http.NoBody)
	if err != nil {
		return "", err
	}
	args = args[2:]
	for len(args) > 1 && args[0] == "-H" {
		name, value, _ := strings.Cut(args[1], ":")
		req.Header.Add(name, strings.TrimSpace(value))
		if name == "Host" { // which net/http has in a place of its own
			req.Host = strings.TrimSpace(value)
		}
		args = args[2:]
	}
	if len(args) == 1 {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(args[0])), int64(len(args[0]))
		if req.Header.Get("Content-Type") == "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintln(&b, res.Status)
	err = res.Header.Write(&b)
	b.WriteByte('\n')
	_, err2 := io.Copy(&b, res.Body)
	return b.String(), errors.Join(err, err2, res.Body.Close())
}

// set NAME REGEXP sets a variable to what the last output has for the expression's group.
func set(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: set NAME REGEXP")
	}
	m := regexp.MustCompile(`(?m)` + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("no %s in:\n%s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], m[1])
}

// shop NAME opens a shop that nothing stands in front of; $NAME is its URL.
func openShop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: shop NAME")
	}
	s := httptest.NewServer(shop.New(shop.Config{}))
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}

// empty DIR wants a folder with nothing in it.
func empty(ts *testscript.TestScript, neg bool, args []string) {
	all, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if (len(all) == 0) == neg {
		ts.Fatalf("%s has %d entries", args[0], len(all))
	}
}

// occupy NAME listens on a port, and never answers; $NAME is its address. With ! it gives the port up again, so that
// nobody listens there.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	if neg {
		ts.Check(l.Close())
		return
	}
	ts.Defer(func() { _ = l.Close() }) // the script is over
}
