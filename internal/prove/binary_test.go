package prove_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// build makes the real binary once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "poe-prove-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "poe")
	out, err := exec.Command("go", "build", "-o", path, "github.com/postonce/poe/cmd/poe").CombinedOutput()
	if err != nil {
		return string(out), err
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// A process is a running poe.
type process struct {
	cmd *exec.Cmd
	url string
}

// start runs poe with args and waits until it serves.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("building the binary: %v\n%s", err, path)
	}
	cmd := exec.Command(path, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var line struct{ Message, URL string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "serving" {
			p.url = line.URL
			break
		}
		t.Log(lines.Text())
	}
	if p.url == "" {
		t.Fatal("it ended before it served")
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	return p
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
