package replay_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// Who was left behind may write and flush in the very moment in which the handler returns. The answer is what it is then, and keeps its content.
func TestWriteWhileItEnds(t *testing.T) {
	for name, left := range map[string]func(r *replay.Recorder){
		"a write":                       func(r *replay.Recorder) { _, _ = r.Write(make([]byte, 100)) },
		"more than the spool has":       func(r *replay.Recorder) { _, _ = r.Write(make([]byte, 4096)) },
		"a flush":                       func(r *replay.Recorder) { r.Flush() },
		"a file":                        func(r *replay.Recorder) { _, _ = r.ReadFrom(strings.NewReader("more")) },
		"a flush, and the head of it":   func(r *replay.Recorder) { r.WriteHeader(http.StatusAccepted); r.Flush() },
		"a write after a write of none": func(r *replay.Recorder) { _, _ = r.Write(nil); _, _ = r.Write([]byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			for turn := range 200 {
				cfg := replay.RecorderConfig{Spool: spoolOf(t, 1024, -1)}
				if turn%2 == 0 {
					cfg.Stream = func(*replay.Answer) (http.ResponseWriter, error) { return nil, errors.New("the client has left") }
				}
				rec := replay.NewRecorder(cfg)
				if _, err := io.WriteString(rec, "hello"); err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				all.Go(func() {
					for range turn * 5 {
						runtime.Gosched()
					}
					left(rec)
				})
				for range turn * 4 {
					runtime.Gosched()
				}
				a, err := rec.Finish()
				if err == nil && a.Where != store.Streamed {
					for range a.Header { // as who keeps it goes through its fields
						continue
					}
					content, err := a.Body.ReadAll()
					if err != nil || int64(len(content)) != a.Size || sha256.Sum256(content) != a.Digest {
						t.Errorf("turn %d: %d bytes are called %d, %v", turn, len(content), a.Size, err)
					}
				}
				all.Wait()
				if err == nil && a.Where != store.Streamed {
					if _, err := a.Body.ReadAll(); err != nil {
						t.Errorf("turn %d: its content is gone: %v", turn, err)
					}
				}
				rec.Release()
			}
		})
	}
}
