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

func TestPause(t *testing.T) {
	p, err := proc.Start(proc.Spec{Name: "busy", Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"}})
	if err != nil {
		t.Fatal(err)
	}
	worked := func() bool {
		before, err := proc.Measure([]int{p.PID()})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			<-time.After(50 * time.Millisecond)
			if now, err := proc.Measure([]int{p.PID()}); err != nil {
				t.Fatal(err)
			} else if now.CPU > before.CPU+10*time.Millisecond { // a tick may belong to the time before
				return true
			}
		}
		return false
	}
	if !worked() {
		t.Fatal("it does nothing")
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if worked() {
		t.Error("it works while it is paused")
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if !worked() {
		t.Error("it does nothing any more")
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopping what is paused: %v", err)
	}
}
