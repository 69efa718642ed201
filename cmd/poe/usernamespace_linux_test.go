package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// In a container with users of its own a folder from outside can be nobody's, and nothing can be given to nobody: root there serves a ledger in it all the same.
func TestServesInAFolderOfNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a folder that is another user's")
	}
	folder := filepath.Join(t.TempDir(), "ledger")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o777); err != nil { // who is root in a namespace is a stranger in the folder
		t.Fatal(err)
	}
	if err := os.Chown(folder, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer app.Close()
	s := &launched{
		cmd: exec.Command("poe", "serve", "--upstream", app.URL, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
			"--store", "pebble:"+folder, "--high-water", filepath.Join(folder, "high-water")),
		said: new(heard), over: make(chan struct{}),
	}
	s.cmd.Stderr = s.said
	alone := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: alone, GidMappings: alone}
	if err := s.cmd.Start(); err != nil {
		t.Skip("no namespace of users can be made here: ", err)
	}
	go func() { defer close(s.over); _ = s.cmd.Wait() }() // whoever is interested looks at the state
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); <-s.over })
	keyed(t, s.served(t).url, "nobody")
	if code := s.end(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, s.said)
	}
}
