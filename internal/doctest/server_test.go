package doctest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postonce/poe/internal/shop"
)

// TestMain is curl for whoever calls the test binary by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "curl" {
		os.Exit(curl(os.Args[1:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "poe-doctest-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(bin) }() // a temporary folder: no harm if it stays
	return m.Run()
}

// bin is the folder of the built command.
var bin string

// build builds the command into bin, as make does.
var build = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-o", filepath.Join(bin, "poe"), "./cmd/poe")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building poe: %w\n%s", err, out)
	}
	return nil
})

// workplace returns a folder to run examples in, with bin/poe in it.
func workplace(t *testing.T) (dir string) {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.Symlink(bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A server is a poe that runs.
type server struct{ address, admin string } // host:port; admin may be empty

// startDemo starts poe demo in dir.
func startDemo(t *testing.T, dir string) server {
	t.Helper()
	var at server
	start(t, exec.Command("bin/poe", "demo", "--listen", "127.0.0.1:0"), dir, func(line string) bool {
		address, ok := strings.CutPrefix(strings.TrimSpace(line), "SHOP=http://")
		at.address = address
		return ok
	})
	return at
}

// startServe starts poe serve in dir, in front of a shop.
func startServe(t *testing.T, dir string) server {
	t.Helper()
	upstream := httptest.NewServer(shop.New(shop.Config{}))
	t.Cleanup(upstream.Close)
	var at server
	cmd := exec.Command("bin/poe", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", upstream.URL)
	start(t, cmd, dir, func(line string) bool {
		var entry struct{ URL, Admin string }
		if json.Unmarshal([]byte(line), &entry) != nil || entry.URL == "" {
			return false
		}
		at.address, at.admin = strings.TrimPrefix(entry.URL, "http://"), strings.TrimPrefix(entry.Admin, "http://")
		return true
	})
	return at
}

// start starts cmd in dir and returns when ready has seen the line that it waits for. The test stops it, and demands that it
// stops in order.
func start(t *testing.T, cmd *exec.Cmd, dir string, ready func(line string) bool) {
	t.Helper()
	cmd.Dir = dir
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	lines := bufio.NewReader(io.TeeReader(output, &said))
	// A test that is given up leaves its processes behind, so nothing here waits for ever.
	kill := func() { _ = cmd.Process.Kill() } // it may have ended
	hurry := time.AfterFunc(time.Minute, kill)
	var drained sync.WaitGroup
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stopping poe: %v", err)
		}
		defer time.AfterFunc(time.Minute, kill).Stop()
		drained.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("poe ended with %v; it said:\n%s", err, said.String())
		}
	})
	defer hurry.Stop()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("poe did not say that it is ready: %v\n%s", err, said.String())
		}
		if ready(line) {
			break
		}
	}
	drained.Go(func() { _, _ = io.Copy(io.Discard, lines) }) // until it ends
}

// A shell runs the scripts of one page, each in the state that the one before left.
type shell struct {
	dir  string // where it runs
	path string // folders that come before those of PATH; may be empty
}

// run returns what each script printed. It stops at the first command that fails.
func (s shell) run(t *testing.T, scripts []string) []string {
	t.Helper()
	const mark = "\x1e" // between two outputs
	var all strings.Builder
	for _, script := range scripts {
		fmt.Fprintf(&all, "%s\nprintf '\\036'\n", script)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu")
	cmd.WaitDelay = time.Second
	cmd.Dir = s.dir
	cmd.Stdin = strings.NewReader(all.String())
	cmd.Env = os.Environ()
	if s.path != "" {
		cmd.Env = append(cmd.Env, "PATH="+s.path+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	outputs := strings.Split(stdout.String(), mark)
	if err != nil {
		t.Fatalf("after %d of %d scripts: %v\n%s\n%s", len(outputs)-1, len(scripts), err, outputs[len(outputs)-1], stderr.String())
	}
	return outputs[:len(scripts)]
}
