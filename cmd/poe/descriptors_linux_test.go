package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Strangers open all the connections that they can, and streams in them that make the server open more. The ledger keeps the file descriptors that it needs, and whoever
// is connected is served: bodies that lie in files, and stored answers that do, included.
func TestStrangersLeaveDescriptors(t *testing.T) {
	const most = 200 // descriptors
	hold := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			<-hold
			return
		}
		_, _ = io.Copy(w, r.Body)
	}))
	defer app.Close()
	s := launch(t, fmt.Sprintf("ulimit -n %d;", most), app.URL, "--store", "pebble:"+filepath.Join(t.TempDir(), "ledger")).served(t)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: time.Minute}
	post := func(key string) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/orders", strings.NewReader(strings.Repeat("x", 300_000)))
		if err != nil {
			return 0, err
		}
		r.Header.Set("Idempotency-Key", key)
		res, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res.StatusCode, err
	}
	if code, err := post("before"); err != nil || code != http.StatusOK {
		t.Fatal(code, err)
	}

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	streams := &http.Transport{Protocols: protocols}
	var strangers sync.WaitGroup
	for range 200 {
		strangers.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/held", http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			if res, err := streams.RoundTrip(r); err == nil { // it may as well never be answered
				_ = res.Body.Close()
			}
		})
	}
	defer strangers.Wait()
	defer close(hold)
	for range 2 * most {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), 50*time.Millisecond)
		if err != nil {
			break // the system's queue is full as well
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "GET /poe/problems/ HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	highest := 0
	for n := range 20 {
		if code, err := post(fmt.Sprint("k", n/2)); err != nil || code != http.StatusOK {
			t.Errorf("POST %d: %d, %v", n, code, err)
		}
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		highest = max(highest, len(open))
	}
	if highest > most*3/4 {
		t.Errorf("%d descriptors are in use, of %d", highest, most)
	}
	t.Logf("%d descriptors are in use, of %d", highest, most)
	select {
	case <-s.over:
		t.Errorf("it is gone:\n%s", s.said)
	default:
	}
}
