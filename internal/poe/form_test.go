package core_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// The files of a form that a handler has parsed go when it ends, as a server has it; those of a form that came parsed stay.
func TestFilesOfForms(t *testing.T) {
	form := func(t *testing.T) (body, kind string) {
		t.Helper()
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, err := w.CreateFormFile("file", "a")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(part, strings.Repeat("a", 100))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String(), w.FormDataContentType()
	}
	parse := func(t *testing.T, r *http.Request) string {
		t.Helper()
		if err := r.ParseMultipartForm(0); err != nil { // nothing of it in memory
			t.Fatal(err)
		}
		f, err := r.MultipartForm.File["file"][0].Open()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		file, ok := f.(*os.File)
		if !ok {
			t.Fatal("the form is not on the disk")
		}
		return file.Name()
	}
	for name, tc := range map[string]struct {
		panics bool
		field  string
	}{
		"returns": {false, "Idempotency-Key: k"},
		"panics":  {true, "Idempotency-Key: k"},
		"passed through, without what only we say": {false, "POE-Id: x"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			var file string
			b.app = func(_ http.ResponseWriter, r *http.Request) {
				file = parse(t, r)
				if tc.panics {
					panic(http.ErrAbortHandler)
				}
			}
			body, kind := form(t)
			func() {
				defer func() { _ = recover() }()
				b.do("POST", "/orders", body, tc.field, "Content-Type: "+kind)
			}()
			if _, err := os.Stat(file); file == "" || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%q: %v", file, err)
			}
		})
	}
	t.Run("parsed in front", func(t *testing.T) {
		b := newBench(t, nil)
		b.app = func(http.ResponseWriter, *http.Request) {}
		body, kind := form(t)
		r := httptest.NewRequest("POST", "/orders", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Idempotency-Key", "k")
		file := parse(t, r)
		r.Body = io.NopCloser(strings.NewReader(body)) // and put back
		if res := b.send(r); res.StatusCode != 200 {
			t.Fatal(res.StatusCode, text(t, res))
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		if err := r.MultipartForm.RemoveAll(); err != nil {
			t.Error(err)
		}
	})
}
