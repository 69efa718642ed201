package replay_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// script is a handler that notes what it sees of its writer.
type script func(w http.ResponseWriter, note func(...any))

// handlers is what applications do. Each must give the same answer, and see the same errors, behind a Recorder and without it.
var handlers = map[string]struct {
	method string // "": POST
	do     script
	plain  *response // the answer without a recorder where the two may differ
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
	"HEAD":             {method: http.MethodHead, do: func(w http.ResponseWriter, note func(...any)) { note(io.WriteString(w, "hello")) }, plain: &response{Status: 200, Header: http.Header{}, Length: -1}},
	"HEAD, no content": {method: http.MethodHead, do: func(w http.ResponseWriter, _ func(...any)) { w.Header().Set("Content-Type", "text/plain") }},
	"HEAD with length": {method: http.MethodHead, do: func(w http.ResponseWriter, _ func(...any)) {
		w.Header().Set("Content-Length", "1234")
		w.Header().Set("Content-Type", "text/plain")
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
				method := tt.method
				if method == "" {
					method = http.MethodPost
				}
				run := func(notes *[]string) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						tt.do(w, func(v ...any) { *notes = append(*notes, fmt.Sprint(v...)) })
					})
				}
				var plainNotes, notes []string
				// The server of HTTP/2 has quirks of its own; what it sends behind a recorder is as good as over HTTP/1.1.
				want := fetch(t, protocols[0], request(method), run(&plainNotes))
				got := fetch(t, proto, request(method), gate{spool: spoolOf(t, 0, 0), h: run(&notes)})
				if tt.plain != nil {
					want = *tt.plain
				}
				if want.Broken {
					got, want = response{Broken: got.Broken}, response{Broken: true}
				}
				if want.Trailer == nil && want.Status != 0 && method != http.MethodHead && !got.Broken && got.Status != http.StatusNoContent && got.Status != http.StatusNotModified {
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

// record runs do on a recorder of its own.
func record(t *testing.T, cfg replay.RecorderConfig, do func(*replay.Recorder)) (*replay.Answer, error) {
	t.Helper()
	if cfg.Spool == nil {
		cfg.Spool = spoolOf(t, 0, 0)
	}
	rec := replay.NewRecorder(cfg)
	t.Cleanup(rec.Release)
	do(rec)
	return rec.Finish()
}

func TestFinish(t *testing.T) {
	write := func(n int) func(*replay.Recorder) {
		return func(r *replay.Recorder) { _, _ = r.Write(pattern(n)) } // Finish tells
	}
	tests := []struct {
		name  string
		cfg   replay.RecorderConfig
		do    func(*replay.Recorder)
		size  int
		where store.Where
		err   error
	}{
		{name: "nothing", do: write(0), where: store.Inline},
		{name: "largest inline", do: write(store.InlineLimit), size: store.InlineLimit, where: store.Inline},
		{name: "beside", do: write(store.InlineLimit + 1), size: store.InlineLimit + 1, where: store.Beside},
		{name: "at the limit", cfg: replay.RecorderConfig{Limit: 100}, do: write(100), size: 100, where: store.Inline},
		{name: "over the limit", cfg: replay.RecorderConfig{Limit: 100}, do: write(101), size: 101, where: store.Purged},
		{name: "limit above inline", cfg: replay.RecorderConfig{Limit: 100 << 10}, do: write(100<<10 + 1), size: 100<<10 + 1, where: store.Purged},
		{name: "too short", do: func(r *replay.Recorder) {
			r.Header().Set("Content-Length", "5")
			write(4)(r)
		}, err: replay.ErrIncomplete},
		{name: "nothing of what was declared", do: func(r *replay.Recorder) {
			r.Header().Set("Content-Length", "5")
			r.WriteHeader(http.StatusOK)
		}, err: replay.ErrIncomplete},
		{name: "switched protocols", do: func(r *replay.Recorder) { r.WriteHeader(http.StatusSwitchingProtocols) }, err: replay.ErrIncomplete},
		{name: "released", do: func(r *replay.Recorder) { write(4)(r); r.Release() }, err: replay.ErrReleased},
		{name: "written after release", do: func(r *replay.Recorder) { r.Release(); write(4)(r) }, err: replay.ErrReleased},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := record(t, tt.cfg, tt.do)
			if !errors.Is(err, tt.err) || (tt.err == nil) != (err == nil) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				return
			}
			want := pattern(tt.size)
			if a.Where != tt.where || a.Size != int64(tt.size) || a.Digest != sha256.Sum256(want) || a.Status != 200 {
				t.Errorf("%d, %s, %d bytes, digest %x", a.Status, a.Where, a.Size, a.Digest)
			}
			checkBody(t, a.Body, want) // all of it, Purged or not: the first client gets it
			b, err := a.Blob()
			if err != nil {
				t.Fatal(err)
			}
			wantBlob := store.Blob{Head: replay.EncodeHead(a.Header, nil), Where: tt.where, Size: int64(tt.size), Digest: a.Digest}
			if tt.where == store.Inline && tt.size > 0 {
				wantBlob.Content = want
			}
			if diff := cmp.Diff(wantBlob, b); diff != "" {
				t.Errorf("Blob (-want +got):\n%s", short(diff))
			}
		})
	}
}

func TestAnswerIsClean(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) {
		r.Header().Set("Content-Length", "1")
		r.Header().Set("Content-Type", "text/plain")
		r.Header().Set("Trailer", "X-Sum")
		r.Header().Set(http.TrailerPrefix+"X-Two", "2")
		_, _ = r.Write([]byte("x")) // Finish tells
		r.Header().Set("X-Sum", "1")
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(http.Header{"Content-Type": {"text/plain"}}, a.Header); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": {"1"}, "X-Two": {"2"}}, a.Trailer); diff != "" {
		t.Errorf("trailers (-want +got):\n%s", diff)
	}
}

func TestFinishTwice(t *testing.T) {
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0)})
	defer rec.Release()
	first, err := rec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := rec.Finish(); second != first || err != nil {
		t.Errorf("%v, %v; want the same answer", second, err)
	}
}

func TestInlineOnDisk(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{Spool: spoolOf(t, -1, 1<<20)}, func(r *replay.Recorder) {
		_, _ = r.Write([]byte("small")) // Finish tells
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Blob()
	if err != nil || string(b.Content) != "small" || b.Where != store.Inline {
		t.Errorf("Blob = %+v, %v", b, err)
	}
}

func TestRecorderIsNotAHijacker(t *testing.T) {
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0)})
	defer rec.Release()
	c := http.NewResponseController(rec)
	if _, _, err := c.Hijack(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("Hijack: %v", err)
	}
	if err := c.Flush(); err != nil {
		t.Errorf("Flush: %v", err)
	}
}

func TestAbandonedHandlerIsHarmless(t *testing.T) {
	s := spoolOf(t, 4<<10, 64<<10)
	informed := 0
	var released atomic.Bool
	rec := replay.NewRecorder(replay.RecorderConfig{
		Spool:  s,
		Inform: func(int, http.Header) { informed++ },
		Stream: func(*replay.Answer) (http.ResponseWriter, error) {
			if released.Load() {
				t.Error("Stream was called after Release")
			}
			return nil, nil
		},
	})
	began, done := make(chan struct{}), make(chan error)
	go func() {
		_, err := rec.Write(make([]byte, 100))
		close(began)
		for err == nil {
			_, err = rec.Write(make([]byte, 100))
			rec.Flush()
		}
		done <- err
	}()
	<-began
	rec.Release()
	released.Store(true)
	if err := <-done; !errors.Is(err, replay.ErrReleased) {
		t.Errorf("a handler that nobody waits for sees %v", err)
	}

	late := replay.NewRecorder(replay.RecorderConfig{
		Spool:  s,
		Inform: func(int, http.Header) { informed++ },
		Stream: func(*replay.Answer) (http.ResponseWriter, error) {
			t.Error("Stream was called after Release")
			return nil, nil
		},
	})
	late.Release()
	late.WriteHeader(http.StatusEarlyHints)
	late.Header().Set("Content-Type", "text/event-stream")
	late.WriteHeader(http.StatusOK)
	if informed != 0 {
		t.Errorf("informed %d times after Release", informed)
	}
}

func TestHeadKeepsNoContent(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{Method: http.MethodHead, Spool: spoolOf(t, -1, -1)}, func(r *replay.Recorder) {
		if n, err := r.Write([]byte("hello")); n != 5 || err != nil {
			t.Errorf("the handler sees %d, %v", n, err)
		}
	})
	if err != nil || a.Size != 0 || a.Body.Size() != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestPanicLeavesTheRecorderUsable(t *testing.T) {
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0)})
	v := panics(func() {
		_, _ = rec.Write(pattern(100 << 10))
		panic("boom")
	})
	if v != "boom" || rec.Status() != 200 || rec.Size() != 100<<10 {
		t.Errorf("%v, %d, %d", v, rec.Status(), rec.Size())
	}
	rec.Release() // spoolOf checks that all is given back
}
