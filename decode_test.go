package poe_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/postonce/poe"
)

// What decodes bodies in front of a door has to say that their length is not known any more. One that does not is named in the log.
func TestDecoderInFront(t *testing.T) {
	var log bytes.Buffer
	gate := openGate(t, poe.Config{Log: zerolog.New(&log)})
	echo := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	decoding := func(length func(encoded int64) int64) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			decoded, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			r.Body, r.ContentLength = decoded, length(r.ContentLength)
			echo.ServeHTTP(w, r)
		})
	}
	send := func(h http.Handler, key string) *httptest.ResponseRecorder {
		var body bytes.Buffer
		z := gzip.NewWriter(&body)
		_, _ = io.WriteString(z, "apples")
		_ = z.Close()
		r := httptest.NewRequest(http.MethodPost, "/orders", &body)
		r.Header.Set("Idempotency-Key", key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := send(decoding(func(int64) int64 { return -1 }), "unknown"); w.Code != http.StatusOK || w.Body.String() != "apples" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := send(decoding(func(n int64) int64 { return n }), "wrong"); w.Code != http.StatusBadRequest || !strings.Contains(log.String(), "left Content-Length") {
		t.Errorf("%d, and the log says %s", w.Code, &log)
	}
}
