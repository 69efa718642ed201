package h1_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
)

// Files that a form has made are gone when its request is answered.
func TestFilesOfForms(t *testing.T) {
	t.Parallel()
	const form = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nabc\r\n--b--\r\n"
	address := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
			return
		}
		f, err := r.MultipartForm.File["f"][0].Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = f.Close() }()
		if file, ok := f.(*os.File); ok {
			_, _ = io.WriteString(w, file.Name())
		}
	})}, true)
	c := dial(t, address)
	in := bufio.NewReader(c)
	_, name := ask(t, c, in, fmt.Sprintf("POST / HTTP/1.1\r\n%sContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", host, len(form), form))
	ask(t, c, in, get) // the first request is over
	if name == "" {
		t.Fatal("no file was made")
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", name, err)
	}
}
