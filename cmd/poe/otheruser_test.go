//go:build unix

package main

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Root checks, copies and puts back the ledger of a server that runs as another user, with a umask that leaves nothing to others: it can be served after each of
// them, and all in the folder is its owner's. Who is not root does so with a ledger of their own.
func TestRootLeavesLedgersToTheirOwners(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	uid, home := os.Getuid(), t.TempDir()
	if uid == 0 {
		uid = 12345
		if err := os.Chown(home, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	bin := reachable(t, filepath.Dir(home))
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer app.Close()
	folder, backup := filepath.Join(home, "ledger"), filepath.Join(t.TempDir(), "backup")
	store := "pebble:" + folder
	served := func(after string) {
		t.Helper()
		s := launchAs(t, uid, bin, "serve", "--upstream", app.URL, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--store", store)
		keyed(t, s.served(t).url, after)
		if code := s.end(t); code != 0 {
			t.Errorf("%s: exit code %d:\n%s", after, code, s.said)
		}
	}
	served("serve")
	for _, step := range []struct {
		before string // what goes first
		args   []string
	}{
		{folder + "/LOCK", []string{"check"}},
		{"", []string{"backup", backup}},
		{folder + ".high-water", []string{"restore", "--as-is", "--accept-lost-keys"}},
		{folder, []string{"restore", backup, "--accept-lost-keys"}},
	} {
		if err := os.RemoveAll(step.before); err != nil {
			t.Fatal(err)
		}
		if code, out, said := runPoe(t, append(step.args, "--store", store)...); code != 0 {
			t.Fatalf("%v: exit code %d\n%s%s", step.args, code, out, said)
		}
		if err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && int(info.Sys().(*syscall.Stat_t).Uid) != uid {
				t.Errorf("%v: %s is not its owner's", step.args, path)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		served(step.args[0])
	}
	if err := os.Remove(folder + "/keys.json"); err != nil {
		t.Fatal(err)
	}
	s := launchAs(t, os.Getuid(), bin, "serve", "--upstream", app.URL, "--listen", "127.0.0.1:0", "--admin", "", "--store", store)
	s.served(t)
	if code := s.end(t); code != 0 {
		t.Errorf("served by root: exit code %d:\n%s", code, s.said)
	}
	served("served-by-root")
}

// reachable lets everybody into a folder, and returns the command there.
func reachable(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := exec.LookPath("poe")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "poe")
	if err := os.WriteFile(bin, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

// launchAs starts a command as a user; as whoever runs the test where that is not root.
func launchAs(t *testing.T, uid int, args ...string) *launched {
	t.Helper()
	s := &launched{cmd: exec.Command(args[0], args[1:]...), said: new(heard), over: make(chan struct{})}
	s.cmd.Dir, s.cmd.Stderr = "/", s.said
	if os.Getuid() == 0 {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(s.over); _ = s.cmd.Wait() }() // whoever is interested looks at the state
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); <-s.over })
	return s
}

// keyed executes a POST whose content, and that of its answer, lie beside the ledger.
func keyed(t *testing.T, url, key string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/orders", strings.NewReader(strings.Repeat("x", 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("%s: POST answered %d", key, res.StatusCode)
	}
}
