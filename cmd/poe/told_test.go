package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postonce/poe"
)

func orderShop(t *testing.T, cfg poe.Config, wrap func(http.Handler) http.Handler) (*httptest.Server, *poe.Gate, *atomic.Int32) {
	t.Helper()
	var orders atomic.Int32
	mux := http.NewServeMux()
	cfg.Store = "memory:"
	if len(cfg.Routes) > 0 {
		cfg.App = mux
	}
	gate, err := poe.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/poe/", gate)
	mux.Handle("/orders", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		orders.Add(1)
		if r.URL.Query().Has("fails") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "ordered %d bytes", len(b))
	})))
	gate.Resume()
	s := httptest.NewServer(wrap(mux))
	t.Cleanup(func() { s.Close(); _ = gate.Close(context.WithoutCancel(t.Context())) })
	return s, gate, &orders
}

func runPoe(t *testing.T, args ...string) (code int, out, said string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), terminal{in: strings.NewReader(""), out: &o, err: &e}, args)
	return code, o.String(), e.String()
}

func as(h http.Handler) http.Handler { return h }

// The reader of the pipe has gone (a mistyped jq): the POST is executed, and poe post dies of SIGPIPE without a word of the POE URI that only it knows.
func TestPostAfterItsReaderHasGone(t *testing.T) {
	s, _, orders := orderShop(t, poe.Config{}, as)
	bin := filepath.Join(t.TempDir(), "poe")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	var said bytes.Buffer
	cmd := exec.Command(bin, "post", s.URL+"/orders", "-d", "item=Cup")
	cmd.Stdout, cmd.Stderr = w, &said
	err = cmd.Run()
	_ = w.Close()
	if orders.Load() != 1 || !strings.Contains(said.String(), "/orders?poe=") {
		t.Errorf("%d orders, %v, and it said %q: nobody knows the POE URI", orders.Load(), err, said.String())
	}
}

// A POE URI that was used for another body, and something in between compresses the refusal that says so, as the caller allowed it: the outcome of the
// other one is printed as if it were that of this one, with exit code 0.
func TestCompressedRefusalIsRead(t *testing.T) {
	compress := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && rec.Header().Get("Content-Encoding") == "" && r.URL.Path != "/poe/new" {
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				_, _ = z.Write(body)
				_ = z.Close()
				body = b.Bytes()
				rec.Header().Set("Content-Encoding", "gzip")
			}
			rec.Header().Del("Content-Length")
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body)
		})
	}
	s, gate, _ := orderShop(t, poe.Config{}, compress)
	one, err := gate.Mint(t.Context(), "POST", "/orders")
	if err != nil {
		t.Fatal(err)
	}
	if code, out, said := runPoe(t, "post", s.URL+one.URI, "-d", "small"); code != 0 {
		t.Fatal(code, out, said)
	}
	code, out, said := runPoe(t, "post", "-H", "Accept-Encoding: gzip", s.URL+one.URI, "-d", "another")
	if code == 0 {
		t.Errorf("exit code 0 for a body that was not executed; it printed %q, and said %q", out, said)
	}
}

// "Exit code 0: the outcome is a success": a route that executes later answers 202, which is no outcome, and the one that comes may be a failure.
func TestPostWaitsForWhatIsAccepted(t *testing.T) {
	s, _, _ := orderShop(t, poe.Config{Routes: []poe.Route{{Name: "orders", Match: "POST /orders", Doors: []string{"poe"}, Async: true}}}, as)
	code, out, said := runPoe(t, "post", s.URL+"/orders?fails", "-d", "a=b", "--max-time", "20s")
	if code != exitError {
		t.Errorf("exit code %d for what fails with 500; it printed %q, and said %q", code, out, said)
	}
}

// What a server says is written to the terminal with its control characters.
func TestControlCharactersOfAServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"type":"/poe/problems/other-principal","title":"no\r\u001b[2Kpoe: hint: it was executed, all is well\u001b[8m","retry":"never"}`)
	}))
	defer s.Close()
	_, _, said := runPoe(t, "post", s.URL+"/orders?poe=T", "-d", "a=b")
	if strings.ContainsAny(said, "\x1b\r") {
		t.Errorf("it said %q", said)
	}
}

// A password in the address is printed, to logs as well.
func TestPasswordIsNotPrinted(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/poe/new" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprint(w, `{"uris":[{"uri":"/orders?poe=TOKEN","id":"x","expires":"2030-01-01T00:00:00Z"}]}`)
			return
		}
		w.Header().Set("POE-State", "unused")
		w.WriteHeader(http.StatusUnprocessableEntity)
	}))
	defer s.Close()
	_, _, said := runPoe(t, "post", strings.Replace(s.URL, "http://", "http://me:hunter2@", 1)+"/orders", "-d", "a=b")
	if strings.Contains(said, "hunter2") {
		t.Errorf("it said %q", said)
	}
}

// The same command twice, with a key: the second one is told that the key was for something else, and that a new try is safe. It is not: it is the very same request.
func TestSameKeyTwice(t *testing.T) {
	s, _, orders := orderShop(t, poe.Config{}, as)
	args := []string{"post", s.URL + "/orders", "-H", "Idempotency-Key: 01a22888-2bae-701f-8f80-65c334591f0a", "-d", "item=Cup"}
	if code, out, said := runPoe(t, args...); code != 0 {
		t.Fatal(code, out, said)
	}
	code, out, said := runPoe(t, args...)
	t.Logf("%d orders; exit code %d, printed %q, said:\n%s", orders.Load(), code, out, said)
	if strings.Contains(said, "new try") {
		t.Error("of the very same request, which was executed, it is told that a new one is safe")
	}
}

// An application's own 410 is its answer. It was kept.
func TestGoneIsAnAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // as with consume: any
		w.Header().Set("POE-State", `done;id="x";status=410`)
		w.WriteHeader(http.StatusGone)
		_, _ = io.WriteString(w, "sold out")
	}))
	defer s.Close()
	code, out, said := runPoe(t, "post", s.URL+"/orders?poe=T", "-d", "a=b")
	if code != exitError || out != "sold out" || said != "" {
		t.Errorf("exit code %d, printed %q, said %q", code, out, said)
	}
}

// The command that poe post gives to go on with is one that works: without --param the POE URI is none, and its receipt "no such link".
func TestPostFailureNamesItsFlags(t *testing.T) {
	s, gate, _ := orderShop(t, poe.Config{Prefix: "/p/", Param: "once"}, as)
	one, err := gate.Mint(t.Context(), "POST", "/orders")
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	args := []string{"post", "--prefix", "/p/", "--param", "once", s.URL + one.URI, "-d", "a=b"}
	if code := run(t.Context(), terminal{in: strings.NewReader(""), out: fullDisk{}, err: &said}, args); code != exitError {
		t.Fatal(code, said.String())
	}
	at := " --prefix '/p/' --param 'once' '" + s.URL + one.URI + "'"
	if want := "poe: hint: see what came of it with poe get" + at + ", or go on with the same data: poe post" + at + "\n"; !strings.HasSuffix(said.String(), want) {
		t.Errorf("it said:\n%swant at its end:\n%s", &said, want)
	}
}

// And where it was not kept, that is said of a 410 as of others.
func TestGoneThatWasNotKept(t *testing.T) {
	for _, status := range []int{http.StatusCreated, http.StatusGone} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("POE-State", fmt.Sprintf(`done;id="x";status=%d`, status))
			w.Header().Set("Content-Type", "application/problem+json")
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.WriteHeader(http.StatusGone)
			_, _ = io.WriteString(w, `{"type":"/poe/problems/outcome-purged","retry":"never"}`)
		}))
		defer s.Close()
		_, _, said := runPoe(t, "post", s.URL+"/orders?poe=T", "-d", "a=b")
		if want := fmt.Sprintf("poe: it was executed, with status %d, but the answer was not kept\n", status); said != want {
			t.Errorf("it said %q, want %q", said, want)
		}
	}
}
