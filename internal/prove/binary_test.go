package prove_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// How the real binary is built, each once.
var (
	workshop = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "poe-prove-") })
	plain    = sync.OnceValues(func() (string, error) { return compile("poe") })
	armed    = sync.OnceValues(func() (string, error) { return compile("poe-killpoints", "-tags", "killpoints") })
)

// compile builds the binary. POE_OVERLAY replaces sources of it, as go build -overlay does: so a proof is tried on a program that is wrong.
func compile(name string, flags ...string) (string, error) {
	dir, err := workshop()
	if err != nil {
		return "", err
	}
	if o := os.Getenv("POE_OVERLAY"); o != "" {
		flags = append(flags, "-overlay", o)
	}
	path := filepath.Join(dir, name)
	args := append([]string{"build", "-o", path}, flags...)
	out, err := exec.Command("go", append(args, "github.com/postonce/poe/cmd/poe")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	return path, nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := workshop(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// A process is a running poe.
type process struct {
	cmd   *exec.Cmd
	url   string        // where it serves; "": it ended before it served
	admin string        // where it takes orders; "": nowhere
	over  chan struct{} // closed when it has ended

	// To be read when it is over.
	killedAt string   // the kill point that it met
	said     []string // the last lines of its log
}

// launch runs the program with args, and env added to the environment. It returns when that serves, or has ended.
func launch(program string, env []string, args ...string) (*process, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, over: make(chan struct{})}
	serving := make(chan served, 1)
	go func() {
		defer close(p.over)
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.heard(lines.Text(), serving)
		}
		_ = cmd.Wait() // that it was killed is no error here
	}()
	select {
	case at := <-serving:
		p.url, p.admin = at.URL, at.Admin
	case <-p.over:
	case <-time.After(time.Minute):
		p.kill()
		return nil, errors.New("it neither serves nor ends")
	}
	return p, nil
}

// served is where a process serves, as its log says.
type served struct{ Message, URL, Admin string }

func (p *process) heard(line string, serving chan<- served) {
	var event served
	if at, ok := strings.CutPrefix(line, "killed at "); ok {
		p.killedAt = at
	} else if json.Unmarshal([]byte(line), &event) == nil && event.Message == "serving" {
		serving <- event
	}
	p.said = append(p.said, line)
	p.said = p.said[max(0, len(p.said)-20):]
}

// start runs the plain binary with args and waits until it serves.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := plain()
	if err != nil {
		t.Fatal(err)
	}
	p, err := launch(path, nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	if p.url == "" {
		t.Fatalf("it ended before it served:\n%s", strings.Join(p.said, "\n"))
	}
	t.Cleanup(p.kill)
	return p
}

// kill ends it as kill -9 does, and returns when it has ended. It may be called again.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.over
}
