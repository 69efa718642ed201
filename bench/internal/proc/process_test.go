package proc_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/bench/internal/proc"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestListeningTellsWhatAProcessSaid(t *testing.T) {
	p, err := proc.Start(proc.Spec{Name: "shell", Path: "/bin/sh", Args: []string{"-c", "echo no such setting >&2; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	port, err := proc.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	err = p.Listening("127.0.0.1:"+itoa(port), 20*time.Second)
	if err == nil || !strings.Contains(err.Error(), "no such setting") || !strings.Contains(err.Error(), "status 3") {
		t.Errorf("got %v", err)
	}
	if err := p.Stop(); err == nil {
		t.Error("a process that had ended by itself was stopped without an error")
	}
}

func TestStop(t *testing.T) {
	p, err := proc.Start(proc.Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"60"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Alive(); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Alive(); err == nil {
		t.Error("it runs still")
	}
}
