package pebblestore_test

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postonce/poe/internal/store/pebblestore"
	"github.com/postonce/poe/internal/store/storetest"
)

// A crowded disk is one of a process that has no file descriptor left for some time.
type crowded struct {
	vfs.FS
	left atomic.Int64 // how often there is none; negative: there never is one again
}

func (c *crowded) full() error {
	switch left := c.left.Load(); {
	case left > 0:
		c.left.Add(-1)
		return syscall.EMFILE
	case left < 0:
		return syscall.ENFILE
	}
	return nil
}

func (c *crowded) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := c.full(); err != nil {
		return nil, err
	}
	return c.FS.Create(name, category)
}

func (c *crowded) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := c.full(); err != nil {
		return nil, err
	}
	return c.FS.ReuseForWrite(from, to, category)
}

func (c *crowded) OpenDir(name string) (vfs.File, error) {
	if err := c.full(); err != nil {
		return nil, err
	}
	return c.FS.OpenDir(name)
}

func (c *crowded) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if err := c.full(); err != nil {
		return nil, err
	}
	return c.FS.Open(name, o...)
}

// Connections may take all file descriptors in the moment in which the ledger needs one for its next log. It waits for one: Pebble would panic, in the middle of what
// is being executed.
func TestDescriptorsComeBack(t *testing.T) {
	disk := &crowded{FS: vfs.NewMem()}
	s := mustOpen(t, disk)
	for range 3 {
		if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
			t.Fatal(err)
		}
		disk.left.Store(5)
		if err := s.Flush(); err != nil { // which begins a log
			t.Fatal(err)
		}
		if left := disk.left.Load(); left != 0 {
			t.Errorf("the log was made with %d refusals to come", left)
		}
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Error(err)
	}
}

// Where none comes back the process ends as it does when the log cannot be written, with the reason, and not by a panic of which only "unlock of unlocked mutex" is
// told.
func TestDescriptorsStayAway(t *testing.T) {
	t.Parallel()
	fatal := make(chan string, 10)
	disk := &crowded{FS: vfs.NewMem()}
	s, err := pebblestore.Open(t.Context(), pebblestore.Config{Dir: dir, FS: disk, Fatal: func(reason string) { fatal <- reason }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Claim(t.Context(), s, claim(t)); err != nil {
		t.Fatal(err)
	}
	disk.left.Store(-1)
	go func() { _ = s.Flush() }() // it does not return, nor does anything else of this ledger: the process would have ended
	select {
	case reason := <-fatal:
		if !strings.Contains(reason, "no file descriptor was left for 5s") || !strings.Contains(reason, "LimitNOFILE") {
			t.Errorf("the reason is %q", reason)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
}
