package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/serve"
)

// operate runs a verb for operators against whoever is at address.
func operate(ctx context.Context, address string, args ...string) (code int, out, said string) {
	var o, e bytes.Buffer
	code = run(ctx, terminal{in: strings.NewReader(""), out: &o, err: &e}, append(args, "--admin", strings.TrimPrefix(address, "http://")))
	return code, o.String(), e.String()
}

// Clients choose targets. However long those are, and of what, an operator can list the actions: when there are many, there is something to decide.
func TestListOfLongTargets(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	defer app.Close()
	cfg := serve.Defaults()
	cfg.Listen, cfg.Admin, cfg.Upstream, cfg.Store = "127.0.0.1:0", "127.0.0.1:0", app.URL, "memory:"
	ctx, stop := context.WithCancel(t.Context())
	ready, end := make(chan serve.Addresses, 1), make(chan error, 1)
	go func() {
		end <- serve.Run(ctx, cfg, serve.Options{Log: zerolog.Nop(), Ready: func(a serve.Addresses) { ready <- a }})
	}()
	defer func() {
		stop()
		if err := <-end; err != nil {
			t.Error(err)
		}
	}()
	var at serve.Addresses
	select {
	case at = <-ready:
	case err := <-end:
		end <- nil
		t.Fatal(err)
	}
	target := "/orders?" + strings.Repeat("&", 60<<10)
	id := ""
	for i := range 25 {
		r, err := http.NewRequestWithContext(ctx, "POST", at.URL+target, strings.NewReader("a=b"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", fmt.Sprintf("k-%d", i))
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		_, id, _ = strings.Cut(res.Header.Get("POE-State"), `id="`)
		id, _, _ = strings.Cut(id, `"`)
	}
	for _, args := range [][]string{{"actions", "list"}, {"actions", "list", "--json"}} {
		code, out, said := operate(ctx, at.Admin, args...)
		if code != exitOK || len(out) > 25*1024 || !strings.Contains(out, "&&&…") || !strings.Contains(out, id) {
			t.Errorf("%v: exit code %d, %d bytes: %.200s", args, code, len(out), said)
		}
	}
	if code, out, said := operate(ctx, at.Admin, "actions", "show", id); code != exitOK || !strings.Contains(out, target) {
		t.Errorf("all of an action: exit code %d, %.200s", code, said)
	}
}

// Whoever answers at the address of the admin listener, which need not be poe, does not write on an operator's terminal what that obeys.
func TestOperatorsTerminalIsNotWrittenTo(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\u009b2J"
	for name, answer := range map[string]struct {
		status  int
		content string
	}{
		"a failure":    {500, evil},
		"no token":     {401, evil},
		"no JSON":      {200, evil},
		"octets":       {200, "\x9b2J"},
		"callbacks":    {200, `{"undelivered":[{"id":"i\u001b","action":"a\u009b","host":"h\u001b[2J","why":"w\u001b]0;x\u0007","since":"2030-01-01T00:00:00Z"}]}`},
		"actions":      {200, `{"actions":[{"id":"i\u001b","state":"s\u001b","route":"` + "\u009b" + `","target":"t\u001b","why":"\u001b"}]}`},
		"one action":   {200, `{"id":"i\u001b","state":"unknown","door":"\u001b","history":[{"who":"\u001b","why":"\u001b"}]}`},
		"what it is":   {200, `{"id":"i\u001b","state":"s\u001b"}`},
		"what is done": {200, `{"id":"i\u001b","state":"done","response":{"status":200,"body":"\u001b"}}`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(answer.status)
			_, _ = fmt.Fprint(w, answer.content)
		}))
		for _, args := range [][]string{
			{"actions", "list"}, {"actions", "list", "--json"}, {"actions", "show", "x"}, {"actions", "show", "x", "--json"}, {"actions", "burn", "x", "--reason", "r"},
			{"callbacks", "list"}, {"callbacks", "list", "--json"}, {"callbacks", "retry", "x"}, {"free", "x"}, {"health"}, {"clock", "confirm"}, {"backup", "x"},
		} {
			_, out, said := operate(t.Context(), s.URL, args...)
			if i := strings.IndexFunc(out+said, func(r rune) bool { return r < ' ' && r != '\n' || 0x7f <= r && r < 0xa0 }); i >= 0 || !utf8.ValidString(out+said) {
				t.Errorf("%v, after %s: %q", args, name, out+said)
			}
		}
		s.Close()
	}
}

// A port beside it is that of clients, behind which an application may answer everything with success. No verb takes that for poe's word.
func TestOperatorAsksAnApplication(t *testing.T) {
	for name, answer := range map[string]string{"a page": "<html>welcome</html>", "a document": `{"ok":true}`, "nothing": ""} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, answer) }))
		for _, args := range [][]string{
			{"actions", "list"}, {"actions", "list", "--json"}, {"actions", "show", "x"}, {"actions", "show", "x", "--json"}, {"actions", "burn", "x", "--reason", "r"},
			{"callbacks", "list"}, {"callbacks", "list", "--json"}, {"callbacks", "retry", "x"}, {"free", "x"}, {"health"}, {"health", "--ready"}, {"clock", "confirm"},
			{"backup", t.TempDir() + "/backup"},
		} {
			if code, out, said := operate(t.Context(), s.URL, args...); code != exitError || out != "" || !strings.Contains(said, "not as the admin listener of poe does") {
				t.Errorf("%v, answered with %s: exit code %d, %q, %q", args, name, code, out, said)
			}
		}
		s.Close()
	}
}

// Most applications know no such address, and say so in their own way. Nobody takes that for what the admin listener says of an action.
func TestOperatorAsksAnApplicationThatRefuses(t *testing.T) {
	refuses := func(kind string, code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(code)
			_, _ = fmt.Fprintln(w, text)
		}
	}
	for name, tt := range map[string]struct {
		application http.HandlerFunc
		hint        bool
	}{
		"Go's 404":           {http.NotFound, true},
		"a page":             {refuses("text/html", http.StatusNotFound, "<h1>Not Found</h1>"), true},
		"a problem":          {refuses("application/problem+json", http.StatusBadGateway, `{"status":502}`), true},
		"a login":            {refuses("application/json", http.StatusUnauthorized, "{}"), true},
		"the admin listener": {refuses("text/plain; charset=utf-8", http.StatusNotFound, "no such action"), false},
	} {
		s := httptest.NewServer(tt.application)
		for _, args := range [][]string{
			{"actions", "list"}, {"actions", "show", "x"}, {"actions", "burn", "x", "--reason", "r"}, {"callbacks", "list"}, {"callbacks", "retry", "x"}, {"free", "x"},
			{"health"}, {"clock", "confirm"}, {"backup", t.TempDir() + "/backup"},
		} {
			code, out, said := operate(t.Context(), s.URL, args...)
			if code != exitError || out != "" || strings.Contains(said, "poe: hint: is that the admin listener? its address is what poe serve says") != tt.hint {
				t.Errorf("%v, answered with %s: exit code %d, %q, %q", args, name, code, out, said)
			}
		}
		s.Close()
	}
}

// An answer that is longer than what is read is told as that, and not as one that is no JSON.
func TestAnswerThatIsTooLong(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"actions":[],"next":%q}`, strings.Repeat("x", maxSaid))
	}))
	defer s.Close()
	code, _, said := operate(t.Context(), s.URL, "actions", "list", "--timeout", time.Minute.String())
	if code != exitError || !strings.Contains(said, "answers with more than 8.0 MiB") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
