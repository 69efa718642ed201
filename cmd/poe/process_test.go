package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
	"github.com/postonce/poe/internal/store"
)

// A launched command is a process of its own.
type launched struct {
	cmd  *exec.Cmd
	said *heard
	url  string
	over chan struct{} // closed when it has ended
}

// heard is what a process has said so far.
type heard struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

var servesAt = regexp.MustCompile(`"url":"([^"]*)"`)

// launch starts poe serve in front of app, by a line of the shell that may begin with more.
func launch(t *testing.T, before, app string, flags ...string) *launched {
	t.Helper()
	line := before + ` exec poe serve --upstream "$0" --listen 127.0.0.1:0 --admin 127.0.0.1:0 "$@"`
	s := &launched{cmd: exec.Command("sh", append([]string{"-c", line, app}, flags...)...), said: new(heard), over: make(chan struct{})}
	s.cmd.Stderr = s.said
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(s.over); _ = s.cmd.Wait() }() // whoever is interested looks at the state
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); <-s.over })
	return s
}

// served waits until s serves.
func (s *launched) served(t *testing.T) *launched {
	t.Helper()
	for late := time.After(patience); ; {
		if at := servesAt.FindStringSubmatch(s.said.String()); at != nil {
			s.url = at[1]
			return s
		}
		select {
		case <-s.over:
			t.Fatalf("it ended by %s before it served:\n%s", s.cmd.ProcessState, s.said)
		case <-late:
			t.Fatalf("it does not serve:\n%s", s.said)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// end sends SIGTERM, waits for the end, and returns the exit code.
func (s *launched) end(t *testing.T) int {
	t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.over:
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", s.said)
	}
	return s.cmd.ProcessState.ExitCode()
}

// Whoever reads the log goes away, as when a supervisor's logger is restarted: that is no reason to end in the middle of executions.
func TestLogReaderGoesAway(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("poe", "serve", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--admin", "", "--store", "memory:")
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	var said []byte
	for b := make([]byte, 4096); !servesAt.Match(said); {
		n, err := read.Read(b)
		if said = append(said, b[:n]...); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	_ = read.Close()
	_ = cmd.Process.Signal(syscall.SIGTERM) // of which it says something
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended by %v, and not in order", err)
	}
}

// A SIGHUP that comes while the configuration is read, as by a reload right after the start, does not end the process. It would be taken for an end in order,
// and the service would stay down.
func TestHangupBeforeItsKeysAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "poe.yaml")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	s := launch(t, "", "http://127.0.0.1:9", "--store", "memory:", "--config", file)
	f, err := os.OpenFile(file, os.O_WRONLY, 0) // it waits for who reads
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(f, "require: true\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
	if code := s.served(t).end(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, s.said)
	}
}

// POE_STORE is the ledger of what serves. The demonstration leaves it alone: it would execute at its own shop what was accepted there, and clients
// would be told that it is done.
func TestDemoTakesNoLedgerFromTheEnvironment(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	cmd := exec.Command("poe", "demo", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "POE_STORE=pebble:"+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := out.Read(make([]byte, 4096)) // the shop is open
	if err != nil || said == 0 {
		t.Errorf("it says nothing: %v", err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has opened the ledger: %v", err)
	}
}

// A server with a file system of its own (PrivateTmp=yes, a container) makes its backup where nobody else sees it, and where it may be gone with the server. Whoever
// asked for it is not told that there is one.
func TestBackupThatIsElsewhere(t *testing.T) {
	where := "pebble:" + filepath.Join(t.TempDir(), "ledger")
	launch(t, "", "http://127.0.0.1:9", "--store", where).served(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // it backs up, into its own folder
		_ = json.NewEncoder(w).Encode(serve.BackupLine{Copied: &store.Copied{Records: 7}})
	}))
	defer elsewhere.Close()
	admin := strings.TrimPrefix(elsewhere.URL, "http://")
	old := filepath.Join(t.TempDir(), "old") // a backup, and another one
	if code := run(t.Context(), terminal{in: strings.NewReader(""), out: io.Discard, err: io.Discard}, []string{"backup", old, "--store", emptyLedger(t)}); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	none := filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{
		{"backup", none, "--admin", admin},
		{"backup", none, "--admin", admin, "--store", where},
		{"backup", old, "--admin", admin},
	} {
		var said bytes.Buffer
		code := run(t.Context(), terminal{in: strings.NewReader(""), out: io.Discard, err: &said}, args)
		if code != exitError || !strings.Contains(said.String(), "the server has another file system") || strings.Contains(said.String(), "backed up") {
			t.Errorf("%s: exit code %d, and it says:\n%s", args, code, &said)
		}
	}
	t.Setenv("POE_ADMIN", admin)
	var said bytes.Buffer
	if code := run(t.Context(), terminal{in: strings.NewReader(""), out: io.Discard, err: &said}, []string{"backup", none, "--store", where}); code != exitError {
		t.Errorf("of the ledger that a server has open: exit code %d, and it says:\n%s", code, &said)
	}
}

// emptyLedger makes a ledger that nobody has open.
func emptyLedger(t *testing.T) string {
	t.Helper()
	where := "pebble:" + filepath.Join(t.TempDir(), "ledger")
	if code := launch(t, "", "http://127.0.0.1:9", "--store", where).served(t).end(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	return where
}
