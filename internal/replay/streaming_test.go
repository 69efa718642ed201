package replay_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// streamer is a gate that passes through what must be.
func streamer(s *replay.Spool, seen *[]replay.Answer, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate{spool: s, h: h, cfg: replay.RecorderConfig{Stream: func(a *replay.Answer) (http.ResponseWriter, error) {
			*seen = append(*seen, *a)
			w.Header().Set("Poe-State", "done")
			replay.SendHead(w, r, a)
			return w, nil
		}}}.ServeHTTP(w, r)
	})
}

func TestEventStreamIsSeenPromptly(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			seen, turn := []replay.Answer{}, make(chan struct{})
			s := spoolOf(t, 0, 0)
			base, client := serve(t, proto, streamer(s, &seen, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "Text/Event-Stream ; charset=utf-8")
				w.Header().Set("Trailer", "X-Sum")
				w.WriteHeader(http.StatusOK)
				for _, line := range []string{"one\n", "two\n", "three\n"} {
					<-turn
					_, _ = io.WriteString(w, line) // the client checks
					w.(http.Flusher).Flush()
				}
				<-turn
				_, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader("copied\n")}) // needs no Flush
				<-turn
				w.Header().Set("X-Sum", "abc")
				w.Header().Set(http.TrailerPrefix+"X-Late", "def")
			})))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(req) // returns although the handler has not written anything yet
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			lines := bufio.NewReader(res.Body)
			for _, want := range []string{"one\n", "two\n", "three\n", "copied\n"} {
				turn <- struct{}{}
				if got, err := lines.ReadString('\n'); got != want || err != nil {
					t.Fatalf("read %q, %v; want %q", got, err, want)
				}
			}
			turn <- struct{}{}
			if rest, err := io.ReadAll(lines); len(rest) != 0 || err != nil {
				t.Errorf("rest %q, %v", rest, err)
			}
			if diff := cmp.Diff(http.Header{"X-Sum": {"abc"}, "X-Late": {"def"}}, res.Trailer); diff != "" {
				t.Errorf("trailer (-want +got):\n%s", diff)
			}
			want := []replay.Answer{{Status: 200, Header: http.Header{"Content-Type": {"Text/Event-Stream ; charset=utf-8"}},
				Trailer: http.Header{"X-Sum": nil}, Where: store.Streamed}}
			if diff := cmp.Diff(want, seen, cmp.AllowUnexported(replay.Body{})); diff != "" {
				t.Errorf("given to Stream (-want +got):\n%s", diff)
			}
			if got := res.Header.Get("Poe-State"); got != "done" {
				t.Errorf("POE-State %q", got)
			}
		})
	}
}

func TestFullSpoolStreams(t *testing.T) {
	content := append([]byte("<html>"), pattern(300<<10)...)
	tests := []struct {
		name         string
		memory, disk int64
		length       bool
		wantLength   int64
	}{
		{name: "at the first byte", memory: -1, disk: -1, wantLength: -1},
		{name: "in the middle", memory: 64 << 10, disk: 100 << 10, wantLength: -1},
		{name: "in the middle, length declared", memory: 64 << 10, disk: 100 << 10, length: true, wantLength: int64(len(content))},
	}
	for _, tt := range tests {
		for _, proto := range protocols {
			t.Run(tt.name+" "+proto, func(t *testing.T) {
				var seen []replay.Answer
				s := spoolOf(t, tt.memory, tt.disk)
				got := fetch(t, proto, request(http.MethodPost), streamer(s, &seen, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Add("Set-Cookie", "a=1")
					w.Header().Set("Connection", "X-Hop")
					w.Header().Set("X-Hop", "1")
					if tt.length {
						w.Header().Set("Content-Length", "307206")
					}
					if n, err := io.Copy(w, struct{ io.Reader }{bytes.NewReader(content)}); n != int64(len(content)) || err != nil {
						t.Errorf("the handler sees %d, %v", n, err)
					}
					if m, d := s.Usage(); m != 0 || d != 0 {
						t.Errorf("a streamed answer still holds %d, %d of the spool", m, d)
					}
				})))
				if got.Body != string(content) || got.Broken {
					t.Errorf("content differs: %q", short(got.Body))
				}
				want := response{Status: 200, Length: tt.wantLength, Header: http.Header{
					"Content-Type": {"text/html; charset=utf-8"}, "Set-Cookie": {"a=1"}, "Poe-State": {"done"},
				}}
				if tt.length {
					want.Header.Set("Content-Length", "307206")
				}
				got.Body = ""
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				if len(seen) != 1 || seen[0].Where != store.Streamed || seen[0].Body != nil || seen[0].Size > 100<<10 {
					t.Errorf("given to Stream: %+v", seen)
				}
			})
		}
	}
}

// The type of an answer that begins to stream is that of what was recorded together with what comes next.
func TestTypeOfAStream(t *testing.T) {
	var header http.Header
	s := spoolOf(t, 1024, -1)
	_, err := record(t, replay.RecorderConfig{Spool: s, Stream: func(a *replay.Answer) (http.ResponseWriter, error) {
		header = a.Header
		return nil, nil
	}}, func(r *replay.Recorder) {
		_, _ = r.Write([]byte("<ht")) // Finish tells
		_, _ = r.Write(append([]byte("ml>"), pattern(2048)...))
		if m, d := s.Usage(); m != 0 || d != 0 {
			t.Errorf("for a client that is gone the spool still holds %d, %d", m, d)
		}
	})
	if diff := cmp.Diff(http.Header{"Content-Type": {"text/html; charset=utf-8"}}, header); diff != "" || err != nil {
		t.Errorf("fields (-want +got):\n%s%v", diff, err)
	}
}

func TestStreamedAnswer(t *testing.T) {
	gone := errors.New("gone")
	tests := []struct {
		name   string
		stream func(w http.ResponseWriter) (http.ResponseWriter, error)
		want   string
	}{
		{name: "client there", stream: func(w http.ResponseWriter) (http.ResponseWriter, error) { return w, nil }, want: "data"},
		{name: "no writer", stream: func(http.ResponseWriter) (http.ResponseWriter, error) { return nil, nil }},
		{name: "an error", stream: func(w http.ResponseWriter) (http.ResponseWriter, error) { return w, gone }},
		{name: "client leaves", stream: func(w http.ResponseWriter) (http.ResponseWriter, error) {
			tries := 0
			return writing{w, func() error {
				if tries++; tries > 1 {
					t.Error("a client that is gone was written to again")
				}
				return gone
			}}, nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, calls := httptest.NewRecorder(), 0
			a, err := record(t, replay.RecorderConfig{Stream: func(*replay.Answer) (http.ResponseWriter, error) {
				calls++
				return tt.stream(client)
			}}, func(r *replay.Recorder) {
				r.Header().Set("Content-Type", "text/event-stream")
				for _, part := range []string{"da", "ta"} {
					if n, err := io.WriteString(r, part); n != 2 || err != nil {
						t.Errorf("the handler sees %d, %v", n, err)
					}
				}
				r.Flush()
			})
			if err != nil {
				t.Fatal(err)
			}
			if calls != 1 || client.Body.String() != tt.want {
				t.Errorf("%d calls, client got %q, want %q", calls, client.Body, tt.want)
			}
			want := &replay.Answer{Status: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Where: store.Streamed, Size: 4}
			if diff := cmp.Diff(want, a, cmp.AllowUnexported(replay.Body{})); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			if err := replay.Send(client, request(http.MethodPost), a); !errors.Is(err, replay.ErrIncomplete) {
				t.Errorf("Send of a streamed answer: %v", err)
			}
		})
	}
}

// A client that did not take what was recorded gets nothing of what follows: it would have a hole in it.
func TestStreamWithoutItsBeginning(t *testing.T) {
	tries := 0
	w := writing{httptest.NewRecorder(), func() error { tries++; return errors.New("gone, for a moment") }}
	a, err := record(t, replay.RecorderConfig{Spool: spoolOf(t, 1024, -1), Stream: func(*replay.Answer) (http.ResponseWriter, error) { return w, nil }}, func(r *replay.Recorder) {
		for _, n := range []int{100, 2048, 100} {
			_, _ = r.Write(pattern(n)) // Finish tells
		}
	})
	if err != nil || a.Where != store.Streamed || a.Size != 2248 || tries != 1 {
		t.Errorf("%+v, %v, after %d tries", a, err, tries)
	}
}

// failing is a client that takes nothing.
type failing struct {
	http.ResponseWriter
	err error
}

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestStreamIsNotAsked(t *testing.T) {
	tests := []struct {
		name string
		do   func(*replay.Recorder)
	}{
		{name: "another type", do: func(r *replay.Recorder) { r.Header().Set("Content-Type", "text/event-streams") }},
		{name: "no content", do: func(r *replay.Recorder) {
			r.Header().Set("Content-Type", "text/event-stream")
			r.WriteHeader(http.StatusNoContent)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := record(t, replay.RecorderConfig{Stream: func(*replay.Answer) (http.ResponseWriter, error) {
				t.Error("Stream was called")
				return nil, nil
			}}, tt.do)
			if err != nil || a.Where != store.Inline {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	t.Run("without Stream all is recorded", func(t *testing.T) {
		a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) {
			r.Header().Set("Content-Type", "text/event-stream")
			_, _ = r.Write([]byte("data")) // Finish tells
		})
		if err != nil || a.Where != store.Inline || a.Size != 4 {
			t.Errorf("%+v, %v", a, err)
		}
	})
	t.Run("without Stream a full spool is an error", func(t *testing.T) {
		_, err := record(t, replay.RecorderConfig{Spool: spoolOf(t, -1, 5)}, func(r *replay.Recorder) {
			for _, n := range []int{5, 5, 0} {
				if _, err := r.Write(make([]byte, n)); n > 0 && r.Size() > 5 {
					t.Errorf("Write of %d: %v", n, err)
				}
			}
		})
		if !errors.Is(err, replay.ErrSpoolFull) {
			t.Errorf("Finish: %v, want ErrSpoolFull", err)
		}
	})
}

func TestStreamedIncomplete(t *testing.T) {
	client := httptest.NewRecorder()
	_, err := record(t, replay.RecorderConfig{Stream: func(*replay.Answer) (http.ResponseWriter, error) { return client, nil }}, func(r *replay.Recorder) {
		r.Header().Set("Content-Type", "text/event-stream")
		r.Header().Set("Content-Length", "10")
		_, _ = r.Write([]byte("data")) // Finish tells
	})
	if !errors.Is(err, replay.ErrIncomplete) {
		t.Errorf("Finish: %v, want ErrIncomplete", err)
	}
}

// TestReleaseWaits shows that no write is under way any more when Release returns: net/http gives the writer's buffer to another
// connection as soon as the client's handler is back.
func TestReleaseWaits(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	busy := false
	w := writing{httptest.NewRecorder(), func() error {
		busy = true
		close(entered)
		<-leave
		busy = false
		return nil
	}}
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0), Stream: func(*replay.Answer) (http.ResponseWriter, error) { return w, nil }})
	rec.Header().Set("Content-Type", "text/event-stream")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = rec.Write([]byte("x")) // the client is of no interest here
	}()
	<-entered
	released := make(chan struct{})
	go func() {
		defer close(released)
		rec.Release()
		if busy {
			t.Error("Release returned while the client's writer was in use")
		}
	}()
	stillWaits(t, released, "Release did not wait")
	close(leave)
	<-released
	<-done
}

// stillWaits gives a Release that does not wait time enough to show it.
func stillWaits(t *testing.T, released <-chan struct{}, otherwise string) {
	t.Helper()
	for range 1000 {
		runtime.Gosched()
		select {
		case <-released:
			t.Fatal(otherwise)
		default:
		}
	}
}

// What informs the client uses its writer too: a 103 that comes late must not get into what is written to it next.
func TestReleaseWaitsForInterim(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0), Inform: func(int, http.Header) {
		close(entered)
		<-leave
	}})
	go rec.WriteHeader(http.StatusEarlyHints)
	<-entered
	released := make(chan struct{})
	go func() {
		defer close(released)
		rec.Release()
	}()
	stillWaits(t, released, "Release returned while the client was being informed")
	close(leave)
	<-released
}

// A deadline is set of the client's connection: over HTTP/2 that has no writer any more when its handler has returned.
func TestReleaseWaitsForDeadline(t *testing.T) {
	w := deadlined{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0), Client: w})
	go func() { _ = rec.SetWriteDeadline(time.Now().Add(time.Minute)) }() // it never fails here
	<-w.entered
	released := make(chan struct{})
	go func() {
		defer close(released)
		rec.Release()
	}()
	stillWaits(t, released, "Release returned while the client's deadline was being set")
	close(w.leave)
	<-released
}

type deadlined struct {
	http.ResponseWriter
	entered, leave chan struct{}
}

func (d deadlined) SetWriteDeadline(time.Time) error {
	close(d.entered)
	<-d.leave
	return nil
}

// Who was left behind flushes when its handler has ended: the fields are the answer's then.
func TestFlushAfterTheEnd(t *testing.T) {
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0)})
	defer rec.Release()
	if _, err := io.WriteString(rec, "hello"); err != nil {
		t.Fatal(err)
	}
	rec.End()
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		rec.Flush()
	}()
	a, err := rec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	for range a.Header { // the race detector sees who else is in there
		continue
	}
	<-flushed
}

// A write finds the spool full, and would begin a stream, while its handler returns.
func TestSpoolFullAtTheEnd(t *testing.T) {
	informing, inform := make(chan struct{}), make(chan struct{})
	rec := replay.NewRecorder(replay.RecorderConfig{
		Spool:  spoolOf(t, 1024, -1),
		Inform: func(int, http.Header) { close(informing); <-inform },
		Stream: func(*replay.Answer) (http.ResponseWriter, error) { t.Error("a stream begins"); return nil, nil },
	})
	defer rec.Release()
	go rec.WriteHeader(http.StatusProcessing) // to a client that takes its time
	<-informing
	if _, err := io.WriteString(rec, "hello"); err != nil {
		t.Fatal(err)
	}
	ended, wrote := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		rec.End() // it waits
	}()
	stillWaits(t, ended, "it did not wait for the interim answer")
	go func() {
		defer close(wrote)
		_, _ = rec.Write(make([]byte, 4096))
	}()
	stillWaits(t, wrote, "a write that finds the spool full did not wait")
	close(inform)
	<-ended
	<-wrote
	a, err := rec.Finish()
	if err != nil { // of an answer that is not whole nobody is told otherwise
		return
	}
	if content, err := a.Body.ReadAll(); err != nil || string(content) != "hello" {
		t.Errorf("called whole: %q, %v", content, err)
	}
}

func TestReleaseEndsAStream(t *testing.T) {
	client := httptest.NewRecorder()
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0), Stream: func(*replay.Answer) (http.ResponseWriter, error) { return client, nil }})
	rec.Header().Set("Content-Type", "text/event-stream")
	if _, err := rec.Write([]byte("seen")); err != nil {
		t.Fatal(err)
	}
	rec.Release()
	client.Flushed = false
	if rec.Flush(); client.Flushed {
		t.Error("the client's writer was used after Release")
	}
	if _, err := rec.Write([]byte(" unseen")); !errors.Is(err, replay.ErrReleased) || client.Body.String() != "seen" {
		t.Errorf("Write: %v; client got %q", err, client.Body)
	}
}

type writing struct {
	http.ResponseWriter
	f func() error
}

func (w writing) Write(p []byte) (int, error) { return len(p), w.f() }
