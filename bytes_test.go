package poe_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

// The very same order, sent again to its POE URI because the answer was lost: a form with enctype="multipart/form-data" whose button is pressed twice, or fetch(…, {body: formData}) that is
// repeated. Browsers make a new boundary each time; a compressor may make other bytes. The 405 says that it is the same: whoever is told that somebody else's was executed orders again.
func TestSameOrderInOtherBytes(t *testing.T) {
	form := func(boundary string) (string, http.Header) {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		_ = m.SetBoundary(boundary)
		_ = m.WriteField("item", "Teapot")
		_ = m.WriteField("quantity", "1")
		_ = m.Close()
		return b.String(), http.Header{"Content-Type": {m.FormDataContentType()}}
	}
	packed := func(level int) (string, http.Header) {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, level)
		_, _ = io.WriteString(z, strings.Repeat(`{"item":"Teapot"}`, 50))
		_ = z.Close()
		return b.String(), http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	}
	for name, encode := range map[string][2]func() (string, http.Header){
		"multipart": {func() (string, http.Header) { return form("----WebKitFormBoundaryAAAAAAAAAAAAAAAA") }, func() (string, http.Header) { return form("----WebKitFormBoundaryBBBBBBBBBBBBBBBB") }},
		"gzip":      {func() (string, http.Header) { return packed(gzip.BestSpeed) }, func() (string, http.Header) { return packed(gzip.BestCompression) }},
	} {
		t.Run(name, func(t *testing.T) {
			gate, err := poe.Open(context.Background(), poe.Config{Store: "memory:"})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = gate.Close(context.Background()) }()
			shop := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
			once, err := gate.Mint(context.Background(), http.MethodPost, "/orders")
			if err != nil {
				t.Fatal(err)
			}
			var w *httptest.ResponseRecorder
			for i, code := range []int{201, 405} {
				body, header := encode[i]()
				r := httptest.NewRequest("POST", once.URI, strings.NewReader(body))
				for name, values := range header {
					r.Header[name] = values
				}
				w = httptest.NewRecorder()
				shop.ServeHTTP(w, r)
				if w.Code != code {
					t.Fatal(i, w.Code, w.Body)
				}
			}
			var said struct {
				Matches *bool `json:"request_matches"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil {
				t.Fatal(err)
			}
			if said.Matches == nil || !*said.Matches {
				t.Errorf("the same order again is not told that it is the same: %s", w.Body)
			}
			other, header := form("A")
			r := httptest.NewRequest("POST", once.URI, strings.NewReader(strings.Replace(other, "Teapot", "Cup", 1)))
			r.Header = header
			w = httptest.NewRecorder()
			shop.ServeHTTP(w, r)
			if !strings.Contains(w.Body.String(), `"request_matches":false`) {
				t.Errorf("another order is told: %s", w.Body)
			}
		})
	}
}
