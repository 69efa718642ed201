package core_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// gzips compresses a text so many times over.
func gzips(t *testing.T, body string, times int) string {
	t.Helper()
	for range times {
		var b bytes.Buffer
		w, _ := gzip.NewWriterLevel(&b, 9)
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		body = b.String()
	}
	return body
}

// A keyed request of some KiB is compared in a moment, whatever it becomes when it is decoded. (2 MiB of parts here, a thirtieth of what is decoded, so that the red test ends soon.)
func TestManyPartsAreComparedInTime(t *testing.T) {
	b := newBench(t, nil)
	body := gzips(t, strings.Repeat("--b\r\n\r\n\r\n", (2<<20)/9)+"--b--\r\n", 2)
	start := time.Now()
	res := b.do("POST", "/orders", body, "Idempotency-Key: k", "Content-Type: multipart/form-data; boundary=b", "Content-Encoding: gzip, gzip")
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("%d bytes of body took %s (for a thirtieth of the limit): %d", len(body), took, res.StatusCode)
	}
}

// What many small requests have the gate look into does not fill the memory.
func TestLooksAreWithinMemory(t *testing.T) {
	b := newBench(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "users", Match: "POST /users", Doors: []string{}, Unique: []string{"json:/email"}}}
	})
	body := gzips(t, `{"email":"x","a":[`+strings.Repeat(`{"":0},`, (1<<20-100)/7)+`0]}`, 1)
	var peak atomic.Uint64
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				if m.HeapInuse > peak.Load() {
					peak.Store(m.HeapInuse)
				}
			}
		}
	}()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { b.do("POST", "/users", body, "Content-Type: application/json", "Content-Encoding: gzip") })
	}
	all.Wait()
	close(done)
	if got := peak.Load() >> 20; got > 256 {
		t.Errorf("16 requests of %d bytes took %d MiB", len(body), got)
	}
}
