package replay_test

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

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
		r.Header().Set(http.TrailerPrefix+"x-two", "2")
		for _, none := range []string{"Content-Length", "X Three", ""} {
			r.Header().Set(http.TrailerPrefix+none, "1")
		}
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

// What who stands in front has set, and the handler has left as it was, is not kept: it would be repeated to others, whom the front says something else.
func TestHeadBehindAFront(t *testing.T) {
	front := http.Header{
		"X-Front": {"1"}, "X-Changed": {"1"}, "X-Gone": {"1"}, "X-List": {"a"}, "Content-Type": {"text/html"}, "Content-Language": {"en"},
		"Vary": {"Origin"}, "Link": {"</front>", "</front.css>"},
	}
	for name, tt := range map[string]struct {
		do   func(h http.Header)
		want http.Header
	}{
		"left as it was": {func(http.Header) {}, http.Header{"Content-Type": {"text/html"}, "Content-Language": {"en"}}},
		"changed": {
			func(h http.Header) {
				delete(h, "X-Gone")
				h["X-Changed"], h["X-List"], h["X-Own"], h["Link"] = []string{"2"}, []string{"a", "b"}, []string{"3"}, []string{"</own>"}
				h.Add("Vary", "Accept")
			},
			http.Header{
				"Content-Type": {"text/html"}, "Content-Language": {"en"}, "X-Changed": {"2"}, "X-List": {"a", "b"}, "X-Own": {"3"}, "Link": {"</own>"}, "Vary": {"Accept"},
			},
		},
		"replaced": {
			func(h http.Header) {
				clear(h)
				h["Link"], h["Vary"], h["Content-Type"] = []string{"</a>", "</b>", "</c>"}, []string{"Origin"}, []string{"text/css"}
			},
			http.Header{"Content-Type": {"text/css"}, "Link": {"</a>", "</b>", "</c>"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := record(t, replay.RecorderConfig{Before: front}, func(r *replay.Recorder) { tt.do(r.Header()) })
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := replay.DecodeHead(a.Head())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

// Who stands in front may code what is written behind it, and says so beforehand. The type is that of what is written; what the handler has coded itself has none that can be seen.
func TestTypeBehindAFront(t *testing.T) {
	for name, tt := range map[string]struct {
		before []string // of Content-Encoding
		do     func(h http.Header)
		want   []string // of Content-Type
	}{
		"coded by the front":            {[]string{"gzip"}, func(http.Header) {}, []string{"text/html; charset=utf-8"}},
		"coded by the handler":          {nil, func(h http.Header) { h.Set("Content-Encoding", "gzip") }, nil},
		"coded by the handler anew":     {[]string{"gzip"}, func(h http.Header) { h.Set("Content-Encoding", "br") }, nil},
		"the handler wants it not done": {[]string{"gzip"}, func(h http.Header) { h.Del("Content-Encoding") }, []string{"text/html; charset=utf-8"}},
	} {
		t.Run(name, func(t *testing.T) {
			front := http.Header{"Content-Encoding": tt.before}
			a, err := record(t, replay.RecorderConfig{Before: front}, func(r *replay.Recorder) {
				tt.do(r.Header())
				_, _ = r.Write([]byte("<html>")) // Finish tells
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, a.Header["Content-Type"]); diff != "" {
				t.Errorf("type (-want +got):\n%s", diff)
			}
		})
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

// What cannot be read any more is not kept as less.
func TestBlobOfWhatIsGone(t *testing.T) {
	var rec *replay.Recorder
	a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) {
		rec = r
		_, _ = r.Write([]byte("small")) // Finish tells
	})
	if err != nil {
		t.Fatal(err)
	}
	rec.Release()
	if b, err := a.Blob(); !errors.Is(err, replay.ErrReleased) {
		t.Errorf("Blob = %+v, %v; want ErrReleased", b, err)
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

// timed is a client's writer whose deadline can be set.
type timed struct {
	http.ResponseWriter
	at time.Time
}

func (w *timed) SetWriteDeadline(at time.Time) error {
	w.at = at
	return nil
}

// A handler may set the deadline by which its client must have taken the answer, until it has returned. There is none to set for reading, or without a client.
func TestDeadlinesOfAHandler(t *testing.T) {
	client, at := &timed{}, time.Unix(1, 0)
	rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0), Client: client})
	defer rec.Release()
	c := http.NewResponseController(rec)
	if err := c.SetWriteDeadline(at); err != nil || !client.at.Equal(at) {
		t.Errorf("writing: %v, %v", client.at, err)
	}
	if err := c.SetReadDeadline(at); err != nil {
		t.Errorf("reading: %v", err)
	}
	if _, err := rec.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := c.SetWriteDeadline(at.Add(time.Hour)); err != nil || !client.at.Equal(at) {
		t.Errorf("writing, afterwards: %v, %v", client.at, err)
	}
	nobody := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 0, 0)})
	defer nobody.Release()
	if err := http.NewResponseController(nobody).SetWriteDeadline(at); err != nil {
		t.Errorf("writing to nobody: %v", err)
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

// Whoever adds a value to a field of the answer changes no other.
func TestFieldsOfAnAnswerAreApart(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) {
		for i, name := range []string{"A", "B", "C", "D", "E", "F"} {
			for range i + 1 {
				r.Header().Add(name, name)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := a.Header.Clone()
	for name := range want {
		a.Header[name] = append(a.Header[name], "more")
		want[name] = append(want[name], "more")
	}
	if diff := cmp.Diff(want, a.Header); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// Nor does it say so beside the answer's fields.
func TestReplayedElsewhere(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{Inform: func(status int, h http.Header) {
		if len(h) > 0 {
			t.Errorf("%d: %v", status, h)
		}
	}}, func(r *replay.Recorder) {
		r.Header().Set("Idempotent-Replayed", "true")
		r.WriteHeader(http.StatusEarlyHints)
		r.Header().Set("Trailer", "Idempotent-Replayed")
		r.WriteHeader(http.StatusCreated)
		r.Header().Set(http.TrailerPrefix+"Idempotent-Replayed", "true")
	})
	if err != nil || len(a.Trailer) > 0 || len(a.Header) > 0 {
		t.Errorf("%v, trailers %v, fields %v", err, a.Trailer, a.Header)
	}
}

// Only the gate says where an action stands, however a handler spells it: net/http sends a field as it is spelled in the map.
func TestReservedFieldsInAnySpelling(t *testing.T) {
	a, err := record(t, replay.RecorderConfig{}, func(r *replay.Recorder) {
		for _, name := range []string{"POE-State", "poe-state", "Poe-State", "poe-LINKS", "POE-Links", "Idempotent-Replayed", "idempotent-REPLAYED"} {
			r.Header()[name] = []string{"done"}
		}
		r.Header()["Poe-Stat"], r.Header()["Poe-Stats"] = []string{"mine"}, []string{"mine"}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(http.Header{"Poe-Stat": {"mine"}, "Poe-Stats": {"mine"}}, a.Header); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}
