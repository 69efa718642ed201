package h1_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What a handler writes comes to the client as net/http would have written it. Pieces of content without a length may have other sizes.
func TestAnswersAreWrittenAsNetHTTPWritesThem(t *testing.T) {
	t.Parallel()
	for name, h := range handlers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := serveTwins(t, h)
			for _, method := range []string{"GET", "HEAD", "POST"} {
				request := method + " /x HTTP/1.1\r\n" + host + "Content-Length: 2\r\n\r\n{}"
				ours, theirs := joined(say(t, pair.ours, request, request)), joined(say(t, pair.theirs, request, request))
				if ours != theirs {
					t.Errorf("%s is answered with\n%s\n and by net/http with\n%s", method, shown(ours), shown(theirs))
				}
			}
		})
	}
}

func handlers() map[string]http.HandlerFunc {
	long := strings.Repeat("all work and no play ", 5000)
	set := func(h http.Header, fields ...string) {
		for i := 0; i < len(fields); i += 2 {
			h.Add(fields[i], fields[i+1])
		}
	}
	all := map[string]http.HandlerFunc{
		"nothing":        func(http.ResponseWriter, *http.Request) {},
		"what is asked":  mirror,
		"an empty piece": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(nil) },
		"a string":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>x") },
		"no type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "x")
		},
		"a coding and no type": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "x")
		},
		"its own date": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Date", "yesterday")
			_, _ = io.WriteString(w, "x")
		},
		"no date": func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil; _, _ = io.WriteString(w, "x") },
		"strange fields": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["lower"], w.Header()["bad name"], w.Header()["X"], w.Header()[""] = []string{"a", "b"}, []string{"x"}, []string{" a\r\nSet-Cookie: b\n "}, []string{"x"}
			_, _ = io.WriteString(w, "x")
		},
		"a length": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Length", "3")
			_, _ = io.WriteString(w, "abc")
		},
		"less than its length": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Length", "5")
			_, _ = io.WriteString(w, "abc")
		},
		"more than its length": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Length", "2")
			_, err := io.WriteString(w, "abc")
			_, _ = fmt.Fprintf(w, "%v", err)
		},
		"long with its length": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Length", strconv.Itoa(len(long)))
			_, _ = io.WriteString(w, long)
		},
		"long, in pieces, with its length": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Length", strconv.Itoa(len(long)))
			for i := range long {
				_, _ = w.Write([]byte{long[i]})
			}
		},
		"long": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) },
		"pieces": func(w http.ResponseWriter, _ *http.Request) {
			for _, p := range strings.SplitAfter(long, " ") {
				_, _ = io.WriteString(w, p)
			}
		},
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush() //nolint:forcetypeassert // what is tested
			_, _ = io.WriteString(w, "b")
			_ = http.NewResponseController(w).Flush()
		},
		"flushed before anything": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush() //nolint:forcetypeassert // what is tested
			_, _ = io.WriteString(w, "<html>")
		},
		"changed after the head": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "A", "1")
			w.WriteHeader(201)
			set(w.Header(), "A", "2", "B", "3", "Content-Length", "7", "Connection", "close", "Content-Type", "a/b")
			_, _ = io.WriteString(w, "x")
		},
		"a second head": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "x")
		},
		"interim answers": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Link", "</a>", "Content-Length", "1", "Transfer-Encoding", "chunked", "Connection", "close")
			w.WriteHeader(103)
			for _, name := range []string{"Content-Length", "Transfer-Encoding", "Connection"} {
				w.Header().Del(name)
			}
			w.WriteHeader(100)
			w.WriteHeader(199)
			_, _ = io.WriteString(w, "x")
		},
		"the end of the connection": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Connection", "close")
			_, _ = io.WriteString(w, "x")
		},
		"another connection field": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Connection", "x")
			_, _ = io.WriteString(w, "x")
		},
		"a coding of its own": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Transfer-Encoding", "chunked", "Content-Type", "a/b")
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush() //nolint:forcetypeassert // as above
		},
		"trailers": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Trailer", "A, b,Content-Length", "Trailer", "C")
			_, _ = io.WriteString(w, "x")
			set(w.Header(), "A", "1", "B", "2", "B", "3", http.TrailerPrefix+"D", "4", "E", "5")
		},
		"trailers and a length": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Trailer", "A", "Content-Length", "1")
			_, _ = io.WriteString(w, "x")
			set(w.Header(), "A", "1")
		},
		"trailers that nobody has announced": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush() //nolint:forcetypeassert // as above
			set(w.Header(), http.TrailerPrefix+"A", "1")
		},
		"trailers that were there before": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), http.TrailerPrefix+"A", "1")
			_, _ = io.WriteString(w, "x")
		},
		"an unread body": func(w http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			_, err := r.Body.Read(make([]byte, 1))
			_, _ = fmt.Fprint(w, err)
		},
		"what it can": func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, r.Context().Value(http.ServerContextKey) != nil, r.Context().Value(http.LocalAddrContextKey) != nil, r.TLS)
		},
		"an error of net/http": func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) },
		"a file": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x.txt", time.Time{}, strings.NewReader(long))
		},
		"copied with its length": func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Length", "30000", "Content-Type", "a/b")
			_, _ = io.WriteString(w, long[:10])
			n, err := io.CopyN(w, strings.NewReader(long), 29990)
			if n != 29990 || err != nil {
				panic(err)
			}
		},
		"copied without a length": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, strings.NewReader(long), 30000) },
		"a redirect":              func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/y?z", http.StatusSeeOther) },
		"too large a body": func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 1))
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		},
		"its own request changed": func(w http.ResponseWriter, r *http.Request) {
			r.Header, r.Body = nil, http.NoBody
			_, _ = io.WriteString(w, "x")
		},
	}
	for _, size := range []int{2047, 2048, 2049, 4095, 4096, 4097, 9000} {
		all[fmt.Sprintf("%d bytes", size)] = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long[:size]) }
	}
	for _, status := range []int{101, 200, 204, 205, 299, 304, 404, 418, 500, 999} {
		all[fmt.Sprintf("status %d", status)] = func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Type", "a/b", "Etag", `"1"`)
			w.WriteHeader(status)
			_, err := io.WriteString(w, "x")
			_ = err
		}
		all[fmt.Sprintf("status %d with a length", status)] = func(w http.ResponseWriter, _ *http.Request) {
			set(w.Header(), "Content-Length", "1")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "x")
		}
	}
	return all
}

// Where net/http says what cannot be, or sends what nobody waits for, we do not.
func TestAnswersThatNetHTTPGetsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method, fields, content string
		handler                 http.HandlerFunc
	}{
		"a length that is none": {"GET", "Date: now\r\nContent-Length: 3\r\nContent-Type: text/plain; charset=utf-8\r\n", "abc", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "-1")
			_, _ = io.WriteString(w, "abc")
		}},
		"an empty one": {"HEAD", "Date: now\r\nContent-Length: 3\r\nContent-Type: text/plain; charset=utf-8\r\n", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "")
			_, _ = io.WriteString(w, "abc")
		}},
		"HEAD, which the handler has made GET": {"HEAD", "Date: now\r\nContent-Length: 3\r\nContent-Type: text/plain; charset=utf-8\r\n", "", func(w http.ResponseWriter, r *http.Request) {
			r.Method = http.MethodGet
			_, _ = io.WriteString(w, "abc")
		}},
		"more than its length, copied": {"GET", "Content-Length: 3\r\nContent-Type: a/b\r\nDate: now\r\n", "abc", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3")
			w.Header().Set("Content-Type", "a/b")
			_, _ = io.WriteString(w, "abc")
			if r.URL.Path == "/last" {
				if n, err := io.CopyN(w, strings.NewReader("def"), 3); n != 0 || !errors.Is(err, http.ErrContentLength) {
					panic(fmt.Sprintf("%d bytes more were taken: %v", n, err))
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := "HTTP/1.1 200 OK\r\n" + tc.fields + "\r\n" + tc.content
			request := tc.method + " / HTTP/1.1\r\n" + host + "\r\n"
			if got := say(t, serve(t, &http.Server{Handler: tc.handler, ErrorLog: quiet}, true), request, strings.Replace(request, "/", "/last", 1)); got != want+want {
				t.Errorf("got %s, want twice %s", shown(got), shown(want))
			}
		})
	}
}

// joined is what came, with the pieces of content without a length in one.
func joined(s string) string {
	var b strings.Builder
	in := bufio.NewReader(strings.NewReader(s))
	chunked := false
	for {
		line, err := in.ReadString('\n')
		b.WriteString(line)
		switch {
		case err != nil:
			return b.String()
		case line == "Transfer-Encoding: chunked\r\n":
			chunked = true
		case line == "\r\n" && chunked:
			chunked = false
			for {
				size, err := in.ReadString('\n')
				n, _ := strconv.ParseInt(strings.TrimSpace(size), 16, 32)
				if _, copied := io.CopyN(&b, in, n); err != nil || copied != nil || n == 0 {
					break
				}
				_, _ = in.Discard(len("\r\n"))
			}
			b.WriteString("<end of the pieces>")
		}
	}
}
