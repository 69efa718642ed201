package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/client"
)

// TestPostOverARealConnection meets what a scripted transport cannot play: connections that are cut before and in the
// middle of an answer. The empty POST with an Idempotency-Key is one that http.Transport would repeat by itself on a
// connection that it kept; that nobody would be told of.
func TestPostOverARealConnection(t *testing.T) {
	var mu sync.Mutex
	var got []string
	cutAt := func(w http.ResponseWriter, sent string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/poe/new" {
			if _, err := io.WriteString(w, `{"uris":[{"uri":"/orders?poe=a.b.c"}]}`); err != nil {
				t.Error(err)
			}
			return
		}
		if r.Method == http.MethodHead {
			w.Header().Set("POE-State", "running")
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+string(body))
		switch len(got) {
		case 1:
			cutAt(w, "")
		case 2:
			cutAt(w, "HTTP/1.1 201 Created\r\nPOE-State: done;status=201\r\nContent-Length: 100\r\n\r\nhalf")
		case 3:
			cutAt(w, "HTTP/1.1 201 Cre")
		default:
			w.Header().Set("POE-State", "done;status=201")
			w.Header().Set("Location", "/nowhere")
			w.WriteHeader(http.StatusSeeOther)
		}
	}))
	defer s.Close()
	repeats := 0
	c := client.New(client.Config{
		Header:   http.Header{"Authorization": {"Bearer me"}, "Idempotency-Key": {"k"}},
		Shortest: time.Millisecond, Longest: time.Millisecond,
		Notice: func(client.Notice) { repeats++ },
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, err := c.Post(ctx, client.PostRequest{URL: s.URL + "/orders"})
	if err != nil || a.Code != http.StatusSeeOther {
		t.Fatalf("got %d, %v", a.Code, err)
	}
	mu.Lock()
	defer mu.Unlock()
	one := "POST /orders?poe=a.b.c Bearer me "
	if diff := cmp.Diff([]string{one, one, one, one}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if repeats != 3 {
		t.Errorf("%d repeats were told of, want 3: somebody else repeats as well", repeats)
	}
}

// TestUnguardedIsPostedOnce: an ordinary application may have a parameter of that name, and lose connections.
func TestUnguardedIsPostedOnce(t *testing.T) {
	var mu sync.Mutex
	posts := 0
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return // without POE-State: an ordinary application
		}
		mu.Lock()
		defer mu.Unlock()
		posts++
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	c := client.New(client.Config{Header: http.Header{"Idempotency-Key": {"k"}}, Shortest: time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.Post(ctx, client.PostRequest{URL: s.URL + "/orders?poe=an-ordinary-parameter"})
	var unguarded *client.UnguardedError
	mu.Lock()
	defer mu.Unlock()
	if !errors.As(err, &unguarded) || !unguarded.Sent || posts != 1 {
		t.Errorf("%d POSTs, error %v", posts, err)
	}
}

// TestRefusalsAreAsked: a person's Accept must not make poe's refusals pages, which Post could not read, and a person's Expect none that say
// nothing of the body.
func TestRefusalsAreAsked(t *testing.T) {
	for _, tt := range []struct {
		name   string
		theirs []string
		want   []string
	}{
		{"none", nil, nil},
		{"pages", []string{"text/html", "text/plain;q=0.5"}, []string{"application/problem+json, text/html, text/plain;q=0.5"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got [][]string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = append(got, r.Header["Accept"])
				if r.Header["Expect"] != nil {
					t.Errorf("a %s expects %q", r.Method, r.Header["Expect"])
				}
				w.Header().Set("POE-State", "done;status=201")
				if r.Method == http.MethodPost {
					w.WriteHeader(http.StatusMethodNotAllowed)
				}
			}))
			defer s.Close()
			c := client.New(client.Config{Header: http.Header{"Accept": tt.theirs, "Expect": {"100-continue"}}})
			if _, err := c.Post(t.Context(), client.PostRequest{URL: s.URL + "/orders?poe=a.b.c", Body: client.Body{Data: []byte("a=1")}}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]string{tt.want, tt.want}, got); diff != "" {
				t.Errorf("of POST and GET (-want +got)\n%s", diff)
			}
		})
	}
}
