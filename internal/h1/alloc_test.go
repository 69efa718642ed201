//go:build !race

package h1_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/postonce/poe/internal/alloctest"
)

// A request and its answer, both as short as those of an API are.
func TestAllocations(t *testing.T) {
	const request = "POST /orders?poe=a.b.c HTTP/1.1\r\n" + host + "Content-Type: application/json\r\nAccept: */*\r\nContent-Length: 2\r\n\r\n{}"
	content := []byte(`{"id":1}`)
	body := make([]byte, 64)
	c := dial(t, serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(body)
		w.Header()["Content-Type"] = nil
		_, _ = w.Write(content)
	})}, true))
	_ = c.SetDeadline(time.Time{})
	answer := make([]byte, 4096)
	ask := []byte(request)
	alloctest.Check(t, 2000, alloctest.Limit{Allocs: 7, Bytes: 1900}, func() {
		if _, err := c.Write(ask); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(answer); err != nil || n == len(answer) {
			t.Fatal(n, err)
		}
	})
}
