package replay_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
)

func TestSendGivesTheFirstClientAll(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) {
		h := r.Header()
		h["Content-Type"] = nil // an upstream that gave none
		h["X-Part"] = []string{"2", "1"}
		h["X-Sum"] = []string{"a field, not the trailer"}
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h["Www-Authenticate"] = []string{"Basic"}
		h["Connection"] = []string{"X-Hop"}
		h["X-Hop"] = []string{"1"}
		h["Keep-Alive"] = []string{"timeout=5"}
		r.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(r, "<html>") // Finish tells
		h[http.TrailerPrefix+"X-Sum"] = []string{"abc"}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := response{Status: 201, Length: -1, Body: "<html>", Trailer: http.Header{"X-Sum": {"abc"}}, Header: http.Header{
		"X-Part": {"2", "1"}, "X-Sum": {"a field, not the trailer"}, "Set-Cookie": {"a=1", "b=2"}, "Www-Authenticate": {"Basic"}, "Poe-State": {"done"},
	}}
	for range 2 { // an answer can be sent again
		got := fetch(t, protocols[0], request(http.MethodPost), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Poe-State", "done")
			if err := replay.Send(w, r, a); err != nil {
				t.Error(err)
			}
		}))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestSendIsAbortedWhereContentIsLost(t *testing.T) {
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0)})
	_, _ = rec.Write([]byte("content")) // Finish tells
	a, err := rec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	rec.Release()
	if v := panics(func() { _ = replay.Send(httptest.NewRecorder(), request(http.MethodPost), a) }); v != http.ErrAbortHandler { //nolint:errorlint // a panic's value
		t.Errorf("panic %v, want ErrAbortHandler", v)
	}
}

// A client that does not take all is told of, wherever the content lies.
func TestSendToAClientThatIsGone(t *testing.T) {
	for name, size := range map[string]int{"in memory": 100, "in a file": 100 << 10} {
		a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) { _, _ = r.Write(pattern(size)) }) // record tells
		if err != nil {
			t.Fatal(err)
		}
		gone := failing{httptest.NewRecorder(), net.ErrClosed}
		if err := replay.Send(gone, request(http.MethodPost), a); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInterimAnswers(t *testing.T) {
	var got []http.Header
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0), Inform: func(status int, h http.Header) {
		h.Set("Status", http.StatusText(status))
		got = append(got, h)
	}})
	defer rec.Release()
	h := rec.Header()
	h.Set("Link", "<a>")
	h.Set("Content-Length", "5")
	h.Set("Connection", "keep-alive, X-Hop") // as httputil.ReverseProxy passes them on
	h.Set("Keep-Alive", "timeout=5")
	h.Set("X-Hop", "1")
	rec.WriteHeader(http.StatusEarlyHints)
	for _, name := range []string{"Link", "Connection", "Keep-Alive", "X-Hop"} {
		h.Del(name)
	}
	rec.WriteHeader(http.StatusProcessing)
	rec.WriteHeader(http.StatusOK)
	rec.WriteHeader(http.StatusEarlyHints)
	want := []http.Header{{"Link": {"<a>"}, "Status": {"Early Hints"}}, {"Status": {"Processing"}}}
	if diff := cmp.Diff(want, got); diff != "" || len(h) != 1 {
		t.Errorf("interim (-want +got):\n%s", diff)
	}
}

func TestStoredAnswerRepeats(t *testing.T) {
	// The whole way: recorded, stored, decoded, repeated.
	s := spoolOf(t, 0, 0)
	a, err := record(t, replay.RecorderConfig{Spool: s}, func(r *replay.Recorder) {
		r.Header().Set("Content-Type", "application/octet-stream")
		r.Header().Set("Set-Cookie", "a=1")
		r.Header().Set("Location", "42")
		r.Header().Set("Trailer", "X-Sum")
		r.WriteHeader(http.StatusCreated)
		_, _ = r.ReadFrom(bytes.NewReader(pattern(1000))) // Finish tells
		r.Header().Set("X-Sum", "abc")
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Blob()
	if err != nil {
		t.Fatal(err)
	}
	h, trailer, err := replay.DecodeHead(b.Head)
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range protocols {
		got := fetch(t, proto, request(http.MethodGet), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Poe-State", "done")
			if err := replay.Repeat(w, r, replay.Stored{Status: replay.OutcomeStatus(a.Status), Header: h, Trailer: trailer,
				Content: bytes.NewReader(b.Content), Size: b.Size, Target: "/shop/orders?x=1"}); err != nil {
				t.Error(err)
			}
		}))
		got.Header.Del("Content-Length") // HTTP/2 has room for it beside trailers
		want := response{Status: 200, Length: got.Length, Body: string(pattern(1000)), Trailer: http.Header{"X-Sum": {"abc"}}, Header: http.Header{
			"Content-Type": {"application/octet-stream"}, "Location": {"/shop/42"}, "Poe-State": {"done"}, "X-Content-Type-Options": {"nosniff"},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", proto, diff)
		}
	}
}

// How long an answer is, is always said, by us or by the server.
func TestLengthIsSaid(t *testing.T) {
	for _, proto := range protocols {
		for _, size := range []int{0, 1, 2047, 2048, 2049, 70 << 10} {
			content := pattern(size)
			a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) { _, _ = r.Write(content) })
			if err != nil {
				t.Fatal(err)
			}
			for what, answer := range map[string]func(w http.ResponseWriter, r *http.Request) error{
				"sent": func(w http.ResponseWriter, r *http.Request) error { return replay.Send(w, r, a) },
				"repeated": func(w http.ResponseWriter, r *http.Request) error {
					return replay.Repeat(w, r, replay.Stored{Status: http.StatusOK, Content: bytes.NewReader(content), Size: int64(size)})
				},
			} {
				got := fetch(t, proto, request(http.MethodPost), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if err := answer(w, r); err != nil {
						t.Error(err)
					}
				}))
				if got.Length != int64(size) || got.Body != string(content) {
					t.Errorf("%s over %s: %d bytes are said to be %d", what, proto, size, got.Length)
				}
			}
			got := fetch(t, proto, request(http.MethodHead), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := replay.Repeat(w, r, replay.Stored{Status: http.StatusOK, Content: bytes.NewReader(content), Size: int64(size)}); err != nil {
					t.Error(err)
				}
			}))
			if got.Length != int64(size) {
				t.Errorf("HEAD over %s: %d bytes are said to be %d", proto, size, got.Length)
			}
		}
	}
}
