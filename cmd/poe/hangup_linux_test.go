package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// The terminal is closed, or its connection breaks, while a POST is being executed: whoever reads the log later must find the POE URI there.
func TestPostAfterAHangup(t *testing.T) {
	kept := make(chan os.Signal, 1)
	signal.Notify(kept, syscall.SIGHUP) // tests that nohup runs ignore it, and poe post would, too
	defer signal.Stop(kept)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	}))
	defer s.Close()
	var said bytes.Buffer
	code := run(t.Context(), terminal{in: strings.NewReader(""), out: &said, err: &said}, []string{"post", s.URL + "/orders?poe=T"})
	want := "poe: error: interrupted: it was sent, and nobody here knows whether it was executed; there was no answer yet\n" +
		"poe: hint: go on later, with the same data: poe post '" + s.URL + "/orders?poe=T'\n"
	if code != exitError || said.String() != want {
		t.Errorf("exit code %d, and it said:\n%s", code, &said)
	}
}
