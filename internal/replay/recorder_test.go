package replay_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
)

// script is a handler that notes what it sees of its writer.
type script func(w http.ResponseWriter, note func(...any))

// handlers is what applications do. Each must give the same answer, and see the same errors, behind a Recorder and without it.
var handlers = map[string]struct {
	do    script
	plain *response // the answer without a recorder where the two may differ
}{
	"nothing":     {do: func(http.ResponseWriter, func(...any)) {}},
	"status only": {do: func(w http.ResponseWriter, _ func(...any)) { w.WriteHeader(http.StatusAccepted) }},
	"created": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Location", "/orders/42")
		w.Header().Set("Etag", `"v1"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		note(io.WriteString(w, `{"id":42}`))
	}},
	"content only":      {do: func(w http.ResponseWriter, note func(...any)) { note(w.Write([]byte("hello"))) }},
	"empty write":       {do: func(w http.ResponseWriter, note func(...any)) { note(w.Write(nil)) }},
	"html is sniffed":   {do: func(w http.ResponseWriter, note func(...any)) { note(io.WriteString(w, "<!DOCTYPE html><p>hi")) }},
	"binary is sniffed": {do: func(w http.ResponseWriter, note func(...any)) { note(w.Write(pattern(70 << 10))) }},
	"sniffed over writes": {do: func(w http.ResponseWriter, note func(...any)) {
		for _, c := range "<html>" {
			note(io.WriteString(w, string(c)))
		}
	}},
	"type unset on purpose": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header()["Content-Type"] = nil
		note(io.WriteString(w, "<html>"))
	}},
	"coded is not sniffed": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Content-Encoding", "gzip")
		note(io.WriteString(w, "<html>"))
	}},
	"repeated fields": {do: func(w http.ResponseWriter, _ func(...any)) {
		for _, v := range []string{"3", "1", "2", "1"} {
			w.Header().Add("X-Part", v)
		}
		w.Header().Add("Set-Cookie", "b=1")
		w.Header().Add("Set-Cookie", "a=2")
		w.WriteHeader(http.StatusOK)
	}},
	"fields after the head": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("X-Before", "kept")
		w.WriteHeader(http.StatusOK)
		w.Header().Set("X-Before", "changed")
		w.Header().Set("X-After", "ignored")
		note(io.WriteString(w, "x"))
	}},
	"second status": {do: func(w http.ResponseWriter, _ func(...any)) {
		w.WriteHeader(http.StatusBadRequest)
		w.WriteHeader(http.StatusOK)
	}},
	"status after content": {do: func(w http.ResponseWriter, note func(...any)) {
		note(io.WriteString(w, "x"))
		w.WriteHeader(http.StatusInternalServerError)
	}},
	"length declared": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Content-Length", "5")
		note(io.WriteString(w, "he"))
		note(io.WriteString(w, "llo"))
	}},
	"length exceeded": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Content-Length", "5")
		note(io.WriteString(w, "hello"))
		note(io.WriteString(w, "!"))
		note(io.WriteString(w, "!"))
	}},
	"length not reached": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Content-Length", "5")
		note(io.WriteString(w, "hell"))
	}, plain: &response{Broken: true}},
	"length skipped": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Content-Length", "5")
		note(io.WriteString(w, "hell"))
		note(io.WriteString(w, "o!"))
		note(io.WriteString(w, "o"))
	}, plain: &response{Broken: true}},
	"length without sense": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Content-Length", "five")
		note(io.WriteString(w, "hello"))
	}},
	"204": {do: func(w http.ResponseWriter, note func(...any)) {
		w.WriteHeader(http.StatusNoContent)
		note(io.WriteString(w, "x"))
	}},
	"304": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Etag", `"v1"`)
		w.WriteHeader(http.StatusNotModified)
		note(io.WriteString(w, "x"))
	}},
	"204 with length": {do: func(w http.ResponseWriter, _ func(...any)) {
		w.Header().Set("Content-Length", "5")
		w.WriteHeader(http.StatusNoContent)
	}},
	"error": {do: func(w http.ResponseWriter, _ func(...any)) { http.Error(w, "no", http.StatusTeapot) }},
	"redirect": {do: func(w http.ResponseWriter, _ func(...any)) {
		http.Redirect(w, request(http.MethodPost), "other", http.StatusSeeOther)
	}},
	"serves content": {do: func(w http.ResponseWriter, _ func(...any)) {
		http.ServeContent(w, request(http.MethodGet), "a.bin", time.Unix(1e9, 0), bytes.NewReader(pattern(100<<10)))
	}},
	"copies": {do: func(w http.ResponseWriter, note func(...any)) {
		note(io.Copy(w, struct{ io.Reader }{bytes.NewReader(pattern(200 << 10))}))
	}},
	"copies from a source that fails": {do: func(w http.ResponseWriter, note func(...any)) {
		note(io.Copy(w, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("broken")))))
	}},
	"reads from": {do: func(w http.ResponseWriter, note func(...any)) {
		note(w.(io.ReaderFrom).ReadFrom(iotest.OneByteReader(strings.NewReader("one by one"))))
	}},
	"flushes": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("X-Before", "kept")
		note(http.NewResponseController(w).Flush())
		w.Header().Set("X-After", "ignored")
		w.WriteHeader(http.StatusBadGateway)
		note(io.WriteString(w, "x"))
		w.(http.Flusher).Flush()
	}},
	"flushes before the type can be told": {do: func(w http.ResponseWriter, note func(...any)) {
		note(io.WriteString(w, "<"))
		w.(http.Flusher).Flush()
		note(io.WriteString(w, "html>"))
	}},
	"buffered": {do: func(w http.ResponseWriter, note func(...any)) {
		b := bufio.NewWriter(w)
		for i := range 5000 {
			_, _ = fmt.Fprintln(b, i) // bufio keeps the error for Flush
		}
		note(b.Flush())
	}},
	"trailers declared": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Add("Trailer", "X-Sum, x-count")
		w.Header().Add("Trailer", "X-Never")
		w.WriteHeader(http.StatusOK)
		note(io.WriteString(w, "content"))
		w.Header().Set("X-Sum", "abc")
		w.Header().Add("X-Count", "1")
		w.Header().Add("X-Count", "2")
		w.Header().Set("X-Other", "ignored")
	}},
	"trailers that are none": {do: func(w http.ResponseWriter, _ func(...any)) {
		w.Header().Add("Trailer", "Content-Length, Transfer-Encoding, X-Sum, X-Sum")
		w.WriteHeader(http.StatusOK)
		w.Header().Set("Content-Length", "1")
		w.Header().Set("X-Sum", "abc")
	}, plain: &response{Status: 200, Header: http.Header{}, Trailer: http.Header{"X-Sum": {"abc"}}, Length: -1}},
	"trailers undeclared": {do: func(w http.ResponseWriter, note func(...any)) {
		note(io.WriteString(w, "content"))
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Sum", "abc")
		w.Header()[http.TrailerPrefix+"X-Two"] = []string{"2", "1"}
	}},
	"trailers set too early": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set(http.TrailerPrefix+"X-Sum", "abc")
		w.WriteHeader(http.StatusOK)
		note(io.WriteString(w, "content"))
	}},
	"trailers without content": {do: func(w http.ResponseWriter, _ func(...any)) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "abc")
	}},
	"early hints": {do: func(w http.ResponseWriter, note func(...any)) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Link", "</b.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		note(io.WriteString(w, "x"))
	}},
	"status of two digits":  {do: func(w http.ResponseWriter, note func(...any)) { note(panics(func() { w.WriteHeader(99) })) }},
	"status of four digits": {do: func(w http.ResponseWriter, note func(...any)) { note(panics(func() { w.WriteHeader(1000) })) }},
	"no deadline for the recorder's sake": {do: func(w http.ResponseWriter, note func(...any)) {
		note(io.WriteString(w, "x"))
	}},
	"panics": {do: func(w http.ResponseWriter, note func(...any)) {
		note(io.WriteString(w, "half"))
		panic(http.ErrAbortHandler)
	}, plain: &response{Broken: true}},
}

func panics(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

func TestRecorderAnswersAsTheServerDoes(t *testing.T) {
	for name, tt := range handlers {
		for _, proto := range protocols {
			t.Run(name+" "+proto, func(t *testing.T) {
				run := func(notes *[]string) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						tt.do(w, func(v ...any) { *notes = append(*notes, fmt.Sprint(v...)) })
					})
				}
				var plainNotes, notes []string
				// The server of HTTP/2 has quirks of its own; what it sends behind a recorder is as good as over HTTP/1.1.
				want := fetch(t, protocols[0], request(http.MethodPost), run(&plainNotes))
				got := fetch(t, proto, request(http.MethodPost), gate{spool: spoolOf(t, 0, 0), h: run(&notes)})
				if tt.plain != nil {
					want = *tt.plain
				}
				if want.Broken {
					got, want = response{Broken: got.Broken}, response{Broken: true}
				}
				if want.Trailer == nil && want.Status != 0 && !got.Broken && got.Status != http.StatusNoContent && got.Status != http.StatusNotModified {
					// What is recorded knows its length.
					want.Length = int64(len(want.Body))
					want.Header.Set("Content-Length", strconv.Itoa(len(want.Body)))
				}
				if got.Trailer != nil {
					got.Length = -1 // HTTP/2 has room for both
					got.Header.Del("Content-Length")
				}
				maps.DeleteFunc(want.Trailer, func(_ string, v []string) bool { return v == nil }) // declared and never set
				if want.Body != got.Body {
					t.Errorf("content differs: %q, want %q", short(got.Body), short(want.Body))
				}
				want.Body, got.Body = "", ""
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("answer (-plain +recorded):\n%s", diff)
				}
				if diff := cmp.Diff(plainNotes, notes); diff != "" {
					t.Errorf("what the handler sees (-plain +recorded):\n%s", diff)
				}
			})
		}
	}
}

// A head that is given away becomes what the same fields become that a handler sets, but for those of the connection.
func TestWriteHead(t *testing.T) {
	head := func() http.Header {
		return http.Header{
			"Content-Type": {"x/y"}, "Content-Length": {"2"}, "Etag": {`"1"`}, "Link": {"<a>", "<b>"}, "X-Both": {"the answer's"},
			"Trailer": {"X-Sum, Poe-State", "Content-Length"}, "Poe-State": {"done"}, "Poe-Links": {"x"}, http.TrailerPrefix + "X-Late": {"no"}, "Date": nil,
		}
	}
	before := http.Header{"X-Front": {"1", "2"}, "X-Both": {"the front's"}}
	recorded := func(do func(r *replay.Recorder)) *replay.Answer {
		r := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 1<<20, 1<<20), Before: before})
		t.Cleanup(r.Release)
		do(r)
		if n, err := io.WriteString(r, "ok"); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if _, err := io.WriteString(r, "more than was said"); !errors.Is(err, http.ErrContentLength) {
			t.Error(err)
		}
		r.Header().Set("X-Sum", "6")
		r.Header().Set("Poe-State", "done")
		a, err := r.Finish()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	want := recorded(func(r *replay.Recorder) {
		for name, values := range head() {
			if name != http.TrailerPrefix+"X-Late" { // which a handler may set before
				r.Header()[name] = values
			}
		}
		r.WriteHeader(http.StatusCreated)
	})
	if len(want.Header) != 6 || len(want.Trailer) != 1 {
		t.Fatalf("this test shows little: %v, %v", want.Header, want.Trailer)
	}
	got := recorded(func(r *replay.Recorder) {
		h := head()
		h["Connection"], h["Keep-Alive"], h["X-Hop"] = []string{"x-hop"}, []string{"timeout=5"}, []string{"1"}
		r.WriteHead(http.StatusCreated, h)
		r.WriteHead(http.StatusOK, http.Header{"X-Second": {"ignored"}})
		r.WriteHeader(http.StatusOK)
	})
	if d := cmp.Diff(want.Header, got.Header); d != "" || got.Status != http.StatusCreated {
		t.Errorf("status %d, fields differ: %s", got.Status, d)
	}
	if d := cmp.Diff(want.Trailer, got.Trailer); d != "" {
		t.Errorf("trailers differ: %s", d)
	}
	got.Header["X-Front"][0] = "changed"
	if before.Get("X-Front") != "1" {
		t.Error("what the front has set is shared")
	}
}
