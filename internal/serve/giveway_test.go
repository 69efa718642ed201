package serve_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// dialled is a connection of a client, and how it asks and is answered.
type dialled struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialTo(t *testing.T, url string) *dialled {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &dialled{t, c, bufio.NewReader(c)}
}

func (d *dialled) ask(path string) {
	d.t.Helper()
	if _, err := io.WriteString(d.Conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dialled) answered(within time.Duration) error {
	if err := d.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	res, err := http.ReadResponse(d.r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// Connections that nobody uses make no newcomer wait: the one that has been idle for longest gives way, and no other.
func TestIdleConnectionsGiveWay(t *testing.T) {
	app := httptest.NewServer(http.NotFoundHandler())
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.MaxConnections = 3
	s := run(t, cfg)
	var all []*dialled
	for range 3 {
		d := dialTo(t, s.at.URL)
		d.ask("/poe/problems/")
		if err := d.answered(time.Minute); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
		<-time.After(50 * time.Millisecond) // the server notes that it is idle after its client has the answer
	}
	all[0].ask("/poe/problems/") // now it is the second one that has been idle for longest
	if err := all[0].answered(time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := all[1].SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := all[1].r.Peek(1); err == nil || strings.Contains(err.Error(), "EOF") {
		t.Errorf("one was closed though nobody waits: %v", err)
	}
	late := dialTo(t, s.at.URL)
	late.ask("/poe/problems/")
	if err := late.answered(10 * time.Second); err != nil {
		t.Errorf("the newcomer: %v", err)
	}
	for _, i := range []int{0, 2} {
		all[i].ask("/poe/problems/")
		if err := all[i].answered(10 * time.Second); err != nil {
			t.Errorf("connection %d, which was not idle for longest: %v", i, err)
		}
	}
}

// Who is being answered does not give way, however long that takes; nor over HTTP/2.
func TestBusyConnectionsDoNotGiveWay(t *testing.T) {
	release, came := make(chan struct{}), make(chan struct{}, 2)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			came <- struct{}{}
			<-release
		}
	}))
	defer app.Close()
	cfg := config(t, app.URL)
	cfg.MaxConnections = 2
	s := run(t, cfg)
	busy := dialTo(t, s.at.URL)
	busy.ask("/slow")
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: protocols}
	defer client.CloseIdleConnections()
	second := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.at.URL+"/slow", http.NoBody)
		if err != nil {
			second <- err
			return
		}
		res, err := client.RoundTrip(r)
		if err == nil {
			_ = res.Body.Close()
		}
		second <- err
	}()
	for range 2 {
		<-came
	}
	late := dialTo(t, s.at.URL)
	late.ask("/fast")
	if err := late.answered(3 * time.Second); err == nil {
		t.Error("somebody gave way")
	}
	close(release)
	if err := busy.answered(10 * time.Second); err != nil {
		t.Errorf("HTTP/1.1: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("HTTP/2: %v", err)
	}
}
