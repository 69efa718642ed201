package h1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	undecided = 2 << 10 // bytes of content that are kept until it is known how long it is, as net/http has it
	gathered  = 4 << 10 // bytes that are written at once
	sniffed   = 512     // bytes of content that tell what it is
)

var errOver = errors.New("h1: the request is answered")

// A response is the answer to one request, and what goes with it. It keeps to what net/http says of its writer.
type response struct {
	parsed  // as it came: the handler may change the request
	conn    *conn
	request *http.Request
	body    body
	context requestContext

	fields    http.Header
	status    int      // 0: not said
	declared  int64    // Content-Length; -1: not known
	written   int64    // bytes of content
	trailers  []string // that were declared
	trailing  bool     // there may be trailers
	sniff     bool     // nobody has said what the content is
	dated     bool     // the handler has said when
	last      bool     // of this connection
	said      bool     // that it is the last
	committed bool     // the head is complete
	chunked   bool
	hijacked  bool
	err       error // of writing

	out *buffers // nil: the request is answered
}

// Buffers are what an answer is made in.
type buffers struct {
	wire    []byte // what is to be written
	content []byte // what is not in it because it is not known yet how long the rest is
}

var pool = sync.Pool{New: func() any {
	return &buffers{wire: make([]byte, 0, gathered), content: make([]byte, 0, undecided)}
}}

// begun makes what a request that was parsed is answered with.
func (c *conn) begun(w *response) {
	w.conn, w.fields, w.declared, w.out = c, make(http.Header, 8), -1, pool.Get().(*buffers) //nolint:forcetypeassert // it has nothing else
	w.context = requestContext{Context: c.ctx, conn: c}
	r := http.Request{
		Method: w.method, URL: &w.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Body: http.NoBody,
		ContentLength: int64(w.length - w.head), Host: w.host, RemoteAddr: c.remote, RequestURI: w.target,
	}
	if r.ContentLength > 0 {
		w.body.rest = c.buf[c.begin+w.head : c.begin+w.length]
		r.Body = &w.body
	}
	w.request = r.WithContext(&w.context)
	if d := c.server.http.WriteTimeout; d > 0 {
		_ = w.SetWriteDeadline(time.Now().Add(d)) //nolint:forbidigo // as the connection has it
	}
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.fields }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	switch {
	case w.hijacked || w.out == nil || w.status != 0:
		w.conn.server.logf("http: superfluous WriteHeader call, status %d", status)
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.statusLine(status)
		w.writeFields(status)
		w.out.wire = append(w.out.wire, "\r\n"...)
		w.flush()
		return
	}
	w.status = status
	if v := first(w.fields["Content-Length"]); v != "" {
		n, err := strconv.ParseUint(v, 10, 63)
		if err == nil {
			w.declared = int64(n)
		} else {
			w.conn.server.logf("http: invalid Content-Length of %q", v)
		}
	}
	w.statusLine(status)
	w.writeFields(status)
	if _, ok := w.fields["Content-Type"]; !ok {
		w.sniff = hasContent(status) && first(w.fields["Content-Encoding"]) == ""
	}
	_, w.dated = w.fields["Date"]
}

func (w *response) statusLine(status int) {
	w.out.wire = strconv.AppendInt(append(w.out.wire, "HTTP/1.1 "...), int64(status), 10)
	if text := http.StatusText(status); text != "" {
		w.out.wire = append(append(append(w.out.wire, ' '), text...), "\r\n"...)
		return
	}
	w.out.wire = fmt.Appendf(w.out.wire, " status code %d\r\n", status)
}

// writeFields writes the handler's fields, in the order of their names, and notes what they say of the message itself.
func (w *response) writeFields(status int) {
	var room [24]string
	names := room[:0]
	for name := range w.fields {
		names = append(names, name)
	}
	slices.Sort(names)
	final := status >= 200 || status == http.StatusSwitchingProtocols
	for _, name := range names {
		values := w.fields[name]
		switch name {
		case "Content-Length":
			if w.declared < 0 || !hasContent(status) {
				continue
			}
		case "Transfer-Encoding": // is ours
			continue
		case "Content-Type":
			if status == http.StatusNotModified {
				continue
			}
		case "Connection":
			if final && first(values) == "close" {
				w.last, w.said = true, true
			}
		case "Trailer":
			if final {
				w.declare(values)
			}
		}
		if !httpguts.ValidHeaderFieldName(name) {
			w.trailing = w.trailing || final && strings.HasPrefix(name, http.TrailerPrefix)
			continue
		}
		for _, v := range values {
			w.out.wire = appendField(w.out.wire, name, v)
		}
	}
}

var newlines = strings.NewReplacer("\n", " ", "\r", " ")

func appendField(b []byte, name, value string) []byte {
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		value = newlines.Replace(value)
	}
	value = strings.Trim(value, " \t")
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}

// declare notes which trailers are to be written (RFC 9110, section 6.6.2).
func (w *response) declare(lists []string) {
	w.trailing = true
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			if name = http.CanonicalHeaderKey(strings.Trim(name, " \t")); name != "" && httpguts.ValidTrailerHeader(name) {
				w.trailers = append(w.trailers, name)
			}
		}
	}
}

// Write implements io.Writer.
func (w *response) Write(p []byte) (int, error) {
	switch {
	case w.hijacked:
		return 0, http.ErrHijacked
	case w.out == nil:
		return 0, errOver
	case w.status == 0:
		w.WriteHeader(http.StatusOK)
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !hasContent(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p))
	if w.declared >= 0 && w.written > w.declared {
		return 0, http.ErrContentLength
	}
	if !w.committed {
		if len(w.out.content)+len(p) <= undecided {
			w.out.content = append(w.out.content, p...)
			return len(p), nil
		}
		w.commit(p, false)
	}
	w.emit(p)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// ReadFrom implements io.ReaderFrom: what has a length is left to the connection, which may have the system copy a file.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if w.out != nil && w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	direct, ok := w.conn.rwc.(io.ReaderFrom)
	limited, known := src.(*io.LimitedReader)
	if !ok || !known || w.out == nil || w.hijacked || w.sniff && w.written == 0 || w.method == http.MethodHead || !hasContent(w.status) || limited.N > w.declared-w.written {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	if err := w.FlushError(); err != nil {
		return 0, err
	}
	n, err := direct.ReadFrom(src)
	w.written += n
	if err != nil {
		w.fail(err)
	}
	return n, err //nolint:wrapcheck // as it came
}

// commit completes the head, and writes the content that was kept. Next is what comes right behind it; done tells that there is nothing more.
func (w *response) commit(next []byte, done bool) {
	w.committed = true
	content := w.out.content
	b := w.out.wire
	if !w.dated {
		b = append(append(append(b, "Date: "...), date()...), "\r\n"...)
	}
	allowed, isHead := hasContent(w.status), w.method == http.MethodHead
	if done && !w.trailing && allowed && w.declared < 0 && (!isHead || len(content) > 0) {
		w.declared = int64(len(content))
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), w.declared, 10), "\r\n"...)
	}
	if w.sniff && len(content)+len(next) > 0 {
		start := content
		if len(start) < sniffed && len(next) > 0 {
			start = slices.Concat(start, next[:min(len(next), sniffed)])
		}
		b = appendField(b, "Content-Type", http.DetectContentType(start))
	}
	if w.last = w.last || w.conn.server.down.Load(); w.last && !w.said && w.status != http.StatusSwitchingProtocols {
		b = append(b, "Connection: close\r\n"...)
	}
	if w.chunked = allowed && !isHead && w.declared < 0; w.chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	w.out.wire = append(b, "\r\n"...)
	w.emit(content)
	w.out.content = content[:0]
}

// emit writes content behind the head.
func (w *response) emit(p []byte) {
	if len(p) == 0 || w.method == http.MethodHead {
		return
	}
	if w.chunked {
		w.out.wire = append(strconv.AppendInt(w.out.wire, int64(len(p)), 16), "\r\n"...)
	}
	if len(w.out.wire)+len(p) > gathered {
		w.flush()
	}
	if len(p) > gathered {
		w.write(p)
	} else {
		w.out.wire = append(w.out.wire, p...)
	}
	if w.chunked {
		w.out.wire = append(w.out.wire, "\r\n"...)
	}
}

// flush writes what is ready.
func (w *response) flush() {
	w.write(w.out.wire)
	w.out.wire = w.out.wire[:0]
}

func (w *response) write(p []byte) {
	if w.err != nil || len(p) == 0 {
		return
	}
	w.conn.forget()
	if _, err := w.conn.rwc.Write(p); err != nil {
		w.fail(err)
	}
}

// fail notes that nothing can be written any more.
func (w *response) fail(err error) {
	w.err, w.last = err, true
	w.context.cancel() // there is nobody to answer
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	switch {
	case w.hijacked:
		return http.ErrHijacked
	case w.out == nil:
		return errOver
	case w.status == 0:
		w.WriteHeader(http.StatusOK)
	}
	if !w.committed {
		w.commit(nil, false)
	}
	w.flush()
	return w.err
}

// finish writes what is left when the handler has returned.
func (w *response) finish() {
	if w.hijacked {
		return
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.committed {
		w.commit(nil, true)
	}
	if w.chunked {
		w.out.wire = append(w.out.wire, "0\r\n"...)
		w.writeTrailers()
		w.out.wire = append(w.out.wire, "\r\n"...)
	}
	w.flush()
	if w.method != http.MethodHead && w.declared >= 0 && hasContent(w.status) && w.written != w.declared {
		w.last = true // or the client would take what comes next for the rest
	}
	w.conn.leave()
	if w.request.MultipartForm != nil {
		_ = w.request.MultipartForm.RemoveAll() // as net/http does
	}
}

// writeTrailers writes the fields that were declared, and those under http.TrailerPrefix.
func (w *response) writeTrailers() {
	t := make(http.Header, len(w.trailers))
	for name, values := range w.fields {
		if rest, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			t[rest] = values
		}
	}
	for _, name := range w.trailers {
		for _, v := range w.fields[name] {
			t.Add(name, v)
		}
	}
	var text bytes.Buffer
	_ = t.Write(&text) // a buffer takes everything
	w.out.wire = append(w.out.wire, text.Bytes()...)
}

// end takes the request and all that belongs to it from who may still have it.
func (w *response) end() {
	_ = w.body.Close() // it has no error
	came := w.context.end()
	if w.out.wire, w.out.content = w.out.wire[:0], w.out.content[:0]; cap(w.out.wire) <= mostBytes { // a long head is rare
		pool.Put(w.out)
	}
	w.out = nil
	c := w.conn
	c.begin += w.length
	c.method = w.method
	if len(came) > 0 {
		c.makeRoom()
		c.end += copy(c.buf[c.end:], came)
	}
}

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	w.conn.touched.Store(true)
	return w.conn.rwc.SetReadDeadline(t) //nolint:wrapcheck // as it came
}

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.conn.limitWrite(t)
}

// EnableFullDuplex is for http.ResponseController. The whole request is there before its handler is called.
func (w *response) EnableFullDuplex() error { return nil }

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case w.hijacked:
		return nil, nil, http.ErrHijacked
	case w.out == nil:
		return nil, nil, errOver
	case w.status != 0:
		_ = w.FlushError() // whoever hijacks it meets the same error
	}
	c := w.conn
	w.body.mu.Lock()
	rest := slices.Concat(w.body.rest, c.buf[c.begin+w.length:c.end])
	w.body.closed, w.body.rest = true, nil
	w.body.mu.Unlock()
	rest = append(rest, w.context.unwatch()...)
	w.hijacked, c.given = true, true
	_ = c.rwc.SetDeadline(time.Time{}) // an error could only mean that it is closed
	c.server.leave(c)
	c.server.state(c.rwc, http.StateHijacked)
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(rest), c.rwc), max(len(rest), gathered))
	_, _ = r.Peek(len(rest)) // they are there
	return c.rwc, bufio.NewReadWriter(r, bufio.NewWriter(c.rwc)), nil
}

// hasContent tells whether an answer may have content (RFC 9110, section 6.4.1).
func hasContent(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// A moment is a second as the field Date has it.
type moment struct {
	second int64
	text   string
}

var now atomic.Pointer[moment]

// date is the time of an answer (RFC 9110, section 6.6.1).
func date() string {
	t := time.Now() //nolint:forbidigo // the machine's, as net/http has it
	m := now.Load()
	if m == nil || m.second != t.Unix() {
		m = &moment{t.Unix(), t.UTC().Format(http.TimeFormat)}
		now.Store(m)
	}
	return m.text
}
