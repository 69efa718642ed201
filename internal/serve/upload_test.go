package serve_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// deadlines notes the reading deadlines that are set.
type deadlines struct {
	*httptest.ResponseRecorder
	set int
}

func (d *deadlines) SetReadDeadline(time.Time) error {
	d.set++
	return nil
}

// Who sends the body to the application may go on when it has answered already, and what passed the request on has returned. Over HTTP/2 its writer must
// not be touched then, or the process ends.
func TestUploadAfterTheHandler(t *testing.T) {
	for name, end := range map[string]func(){"it returns": func() {}, "it panics": func() { panic(http.ErrAbortHandler) }} {
		t.Run(name, func(t *testing.T) {
			var body io.Reader
			w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader("abcdef"))
			r.ProtoMajor = 2
			func() {
				defer func() { _ = recover() }()
				serve.Patient(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					body = r.Body
					if _, err := io.ReadFull(body, make([]byte, 3)); err != nil || w.set == 0 {
						t.Errorf("%v, %d deadlines", err, w.set)
					}
					end()
				})).ServeHTTP(w, r)
			}()
			before := w.set
			if _, err := io.ReadAll(body); err != nil || w.set != before {
				t.Errorf("%v, %d deadlines set after it had returned", err, w.set-before)
			}
		})
	}
}
