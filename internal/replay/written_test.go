package replay_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/replay"
)

// An answer in a file is recorded as one that came.
func TestRecordWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		status int
		header http.Header
		body   string
	}{
		"as HTTP/1.1 writes it": {
			"HTTP/1.1 201 Created\r\nLocation: /orders/7\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"id\":7}",
			201, http.Header{"Location": {"/orders/7"}, "Content-Type": {"application/json"}}, `{"id":7}`,
		},
		"with an editor's line ends, and no length": {
			"HTTP/1.1 200 OK\nContent-Type: text/plain\n\nmade\n\nHTTP/1.1 or not\n", 200, http.Header{"Content-Type": {"text/plain"}}, "made\n\nHTTP/1.1 or not\n",
		},
		"over HTTP/2, after an interim one": {
			"HTTP/2 103 \r\nlink: </x>\r\n\r\nHTTP/2 202 \r\ncontent-type: text/plain\r\n\r\nmade", 202, http.Header{"Content-Type": {"text/plain"}}, "made",
		},
		"that came in chunks": {
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\nmade", 200, http.Header{"Content-Type": {"text/plain"}}, "made",
		},
		"coded": {
			"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\n\r\n\x1f\x8b\x08", 200,
			http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"text/plain"}}, "\x1f\x8b\x08",
		},
		"coded otherwise": {
			"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Type: text/plain\r\n\r\n\x28\xb5\x2f\xfd", 200,
			http.Header{"Content-Encoding": {"zstd"}, "Content-Type": {"text/plain"}}, "\x28\xb5\x2f\xfd",
		},
		"coded without a mark": {
			"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Type: text/plain\r\n\r\n\x0f\x02", 200,
			http.Header{"Content-Encoding": {"br"}, "Content-Type": {"text/plain"}}, "\x0f\x02",
		},
		"coded, without content": {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", 200, http.Header{"Content-Encoding": {"gzip"}}, ""},
		"not in chunks, whatever it looks like": {
			"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n42\n", 200, http.Header{"Content-Type": {"text/plain"}}, "42\n",
		},
		"with the length of what is not sent": {"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 9\r\n\r\n", 304, http.Header{"Etag": {`"1"`}}, ""},
		"with the last of all statuses":       {"HTTP/1.1 599 No\r\n\r\n", 599, http.Header{}, ""},
		"a failure":                           {"HTTP/1.1 500 No\r\nContent-Type: a/b\r\n\r\nx", 500, http.Header{"Content-Type": {"a/b"}}, "x"},
		"without content":                     {"HTTP/1.1 204 No Content\r\nETag: \"1\"\r\n\r\n", 204, http.Header{"Etag": {`"1"`}}, ""},
		"the status alone":                    {"HTTP/1.1 200 OK\r\n\r\n", 200, http.Header{}, ""},
		"of one field twice, and of no type": {
			"HTTP/1.0 200 OK\r\nLink: <a>\r\nLink: <b>\r\n\r\n<html>", 200,
			http.Header{"Link": {"<a>", "<b>"}, "Content-Type": {"text/html; charset=utf-8"}}, "<html>",
		},
		"larger than what is read at once": {
			"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n" + strings.Repeat("x", 300_000), 200, http.Header{"Content-Type": {"a/b"}}, strings.Repeat("x", 300_000),
		},
	} {
		t.Run(name, func(t *testing.T) {
			spool := spoolOf(t, 1<<20, 1<<20)
			rec := replay.NewRecorder(replay.RecorderConfig{Spool: spool})
			defer rec.Release()
			if err := replay.RecordWritten(rec, strings.NewReader(tc.text)); err != nil {
				t.Fatal(err)
			}
			a, err := rec.Finish()
			if err != nil {
				t.Fatal(err)
			}
			body, err := a.Body.ReadAll()
			if err != nil || string(body) != tc.body || a.Status != tc.status {
				t.Errorf("%d with %d bytes, %v", a.Status, len(body), err)
			}
			if d := cmp.Diff(tc.header, a.Header); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
		})
	}
}

// A file that cannot be read to its end is no answer, and what kept it from being read is told.
func TestRecordWrittenOfABrokenFile(t *testing.T) {
	broken := errors.New("broken")
	for name, text := range map[string]string{
		"after the head": "HTTP/1.1 200 OK\r\n\r\n",
		"in the content": "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 100_000),
	} {
		t.Run(name, func(t *testing.T) {
			rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 1<<20, 1<<20)})
			defer rec.Release()
			err := replay.RecordWritten(rec, io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)))
			if !errors.Is(err, broken) || errors.Is(err, replay.ErrNotAnAnswer) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRecordWrittenRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"nothing":                {"", "EOF"},
		"JSON":                   {`{"id":7}`, "malformed"},
		"a head without end":     {"HTTP/1.1 200 OK\r\nA: b\r\n", "EOF"},
		"an interim answer":      {"HTTP/1.1 103 Early\r\n\r\n", "EOF"},
		"a switch":               {"HTTP/1.1 101 Switching\r\n\r\n", "101 cannot"},
		"no class of status":     {"HTTP/1.1 600 What\r\n\r\n", "600 cannot"},
		"half a status line":     {"HTTP/2 200", "no end"},
		"two answers":            {"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", "more than one"},
		"chunks":                 {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmade\r\n0\r\n\r\n", "chunks"},
		"less than it says":      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nmade", "4 bytes of content, and Content-Length says 9"},
		"more than it says":      {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmade\n", "more content than Content-Length says"},
		"content where none is":  {"HTTP/1.1 204 No Content\r\n\r\nmade", "204 has no content"},
		"content not modified":   {"HTTP/1.1 304 Not Modified\r\n\r\nmade", "304 has no content"},
		"decoded by curl":        {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n{\"id\":7}", "without --compressed"},
		"decoded, over HTTP/2":   {"HTTP/2 200 \r\ncontent-encoding: zstd\r\n\r\n{\"id\":7}", "without --compressed"},
		"a field that is no one": {"HTTP/1.1 200 OK\r\nnot a field\r\n\r\nmade", "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := replay.NewRecorder(replay.RecorderConfig{Spool: spoolOf(t, 1<<20, 1<<20)})
			defer rec.Release()
			err := replay.RecordWritten(rec, strings.NewReader(tc.text))
			if !errors.Is(err, replay.ErrNotAnAnswer) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
