package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postonce/poe/internal/gateway"
	"github.com/postonce/poe/internal/serve"
)

// behind runs a server of clients with app behind it, in a bubble, all connections of which are pipes, and gives f one to it.
func behind(t *testing.T, app http.HandlerFunc, f func(t *testing.T, client net.Conn)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		gate, _ := lone(t, dir)
		back := one{make(chan net.Conn, 8), make(chan struct{})}
		hop, err := gateway.New(gateway.Config{
			Upstream: &url.URL{Scheme: "http", Host: "app"},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				back.conns <- server
				return client, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		application := &http.Server{Handler: app}
		go func() { _ = application.Serve(back) }()
		l := one{make(chan net.Conn, 1), make(chan struct{})}
		front := serve.Front(gate, hop)
		go func() { _ = front.Serve(l) }()
		client, server := net.Pipe()
		l.conns <- server
		f(t, client)
		_ = client.Close()
		_ = front.Close()
		hop.Close()
		_ = application.Close()
	})
}

// A client whose body does not come is not waited for, whoever the request is for, and whether or not anybody reads it.
func TestBodyThatDoesNotCome(t *testing.T) {
	for _, line := range []string{"POST /other", "GET /other", "GET /unread", "GET /poe/routes", "POST /poe/routes", "POST /o%rders", `GET /a\b`} {
		t.Run(line, func(t *testing.T) {
			app := func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/unread" {
					_, _ = io.Copy(io.Discard, r.Body)
				}
			}
			behind(t, app, func(t *testing.T, client net.Conn) {
				began := time.Now()
				if _, err := fmt.Fprintf(client, "%s HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx", line); err != nil {
					t.Fatal(err)
				}
				_ = client.SetReadDeadline(began.Add(time.Hour))
				_, err := io.Copy(io.Discard, client)
				if took := time.Since(began); err != nil || took > 3*time.Minute {
					t.Errorf("its connection ended after %v: %v", took, err)
				}
			})
		})
	}
}

// An upload that comes slowly, but comes, is passed on whole; and what the application then says late reaches its client, who may ask for more.
func TestSlowUpload(t *testing.T) {
	app := func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		<-time.After(10 * time.Minute)
		_, _ = fmt.Fprintln(w, n, err)
		_ = http.NewResponseController(w).Flush()
		<-time.After(10 * time.Minute)
		_, _ = fmt.Fprintln(w, r.Context().Err())
	}
	for name, upload := range map[string][]string{
		"with its length": append([]string{"POST /other HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"}, slices.Repeat([]string{"x"}, 10)...),
		"in chunks": append(append([]string{"POST /other HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
			slices.Repeat([]string{"1\r\nx\r\n"}, 10)...), "0\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			behind(t, app, func(t *testing.T, client net.Conn) {
				in := bufio.NewReader(client)
				for range 2 { // the second on the same connection
					for _, piece := range upload {
						if _, err := io.WriteString(client, piece); err != nil {
							t.Error(err)
							return
						}
						<-time.After(time.Minute)
					}
					res, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := io.ReadAll(res.Body)
					if want := "10 <nil>\n<nil>\n"; string(got) != want || err != nil {
						t.Errorf("the application said %q, error %v; want %q", got, err, want)
					}
					<-time.After(time.Minute) // a pause that IdleTimeout allows
				}
			})
		})
	}
}

// A client that takes nothing of an answer does not hold whoever writes it; one that takes it slowly gets it whole. (Without the proxy, which holds a
// lock meanwhile: in a bubble time does not go on there.)
func TestAnswerThatIsNotTaken(t *testing.T) {
	const size = 64 << 10
	for name, take := range map[string]func(t *testing.T, client net.Conn) bool{
		"nothing": func(*testing.T, net.Conn) bool { return false },
		"slowly": func(t *testing.T, client net.Conn) bool {
			t.Helper()
			res, err := http.ReadResponse(bufio.NewReaderSize(client, 4<<10), nil)
			if err != nil {
				t.Error(err)
				return true
			}
			n := 0
			for piece := make([]byte, 4<<10); err == nil; {
				<-time.After(time.Minute)
				var got int
				got, err = res.Body.Read(piece)
				n += got
			}
			if n != size || !errors.Is(err, io.EOF) {
				t.Errorf("%d bytes came, error %v", n, err)
			}
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				written := make(chan error, 1)
				front := serve.Public(serve.Patient(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					var err error
					for n := 0; n < size && err == nil; n += 4 << 10 {
						_, err = w.Write(make([]byte, 4<<10))
					}
					written <- err
				})))
				l := one{make(chan net.Conn, 1), make(chan struct{})}
				client, server := net.Pipe()
				l.conns <- server
				go func() { _ = front.Serve(l) }()
				began := time.Now()
				askFor(t, client, "/other")
				whole := take(t, client)
				err := <-written
				if took := time.Since(began); (err == nil) != whole || !whole && took > 3*time.Minute {
					t.Errorf("whoever wrote it was held for %v, error %v", took, err)
				}
				_ = front.Close()
			})
		})
	}
}

// Nor is a connection kept whose client takes nothing of an answer of ours.
func TestOwnAnswerThatIsNotTaken(t *testing.T) {
	for _, path := range []string{"/poe/problems/consumed", "/poe/routes", "/poe/none", "/poe/new?for=/orders&count=100", "/other#x"} {
		t.Run(path, func(t *testing.T) {
			behind(t, http.NotFound, func(t *testing.T, client net.Conn) {
				askFor(t, client, path)
				<-time.After(3 * time.Minute)
				if _, err := io.WriteString(client, "x"); err == nil {
					t.Error("its connection is still open")
				}
			})
		})
	}
}

func askFor(t *testing.T, client net.Conn, path string) {
	t.Helper()
	if _, err := fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
}
