package gateway

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/replay"
)

// blockSize is how much of a body is written at a time, in bytes. A body that is no longer goes out in one write with
// the head; the rest of a longer one has a goroutine.
const blockSize = 64 << 10

// A message is a request on its way into a connection: the block to be written next, and what comes after it.
type message struct {
	method  string
	block   []byte // first: the head and the first block of the body
	body    *replay.Reader
	left    int64 // of the body, not in a block yet
	chunked bool
	trailer http.Header
}

// compose makes the head and the first block. Whatever is wrong with the request shows here, before there is a connection.
func (g *Gateway) compose(req *replay.Request) (*message, error) {
	m := g.messages.Get().(*message)
	*m = message{
		method:  req.Method,
		block:   m.block[:0],
		body:    req.Body.LastReader(),
		left:    req.Body.Size(),
		trailer: forwardedTrailer(req.Trailer),
	}
	m.chunked = len(m.trailer) > 0
	host := req.Host
	if host == "" {
		host = g.host
	}
	err := m.head(req, host, g.heard(req.RemoteAddr, host, req.TLS != nil, req.Header))
	if err == nil {
		err = m.fill()
	}
	if err != nil {
		g.dispose(m)
		return nil, fmt.Errorf("composing the request: %w", err)
	}
	return m, nil
}

// dispose gives the message's memory back.
func (g *Gateway) dispose(m *message) {
	*m = message{block: m.block[:0]}
	g.messages.Put(m)
}

// head writes the request's head. What it is made of came from outside and is checked again here: nothing may end a line, so
// one request stays one request (RFC 9112 section 11.2).
func (m *message) head(req *replay.Request, host string, said hearsay) error {
	switch {
	case !httpguts.ValidHeaderFieldName(req.Method):
		return fmt.Errorf("method %q is not a token", req.Method)
	case !strings.HasPrefix(req.Target, "/") || !oneWord(req.Target):
		return errors.New("the target is not a path in visible characters")
	case !httpguts.ValidHostHeader(host):
		return fmt.Errorf("host %q is not valid", host)
	}
	m.add(req.Method, " ", req.Target, " HTTP/1.1\r\n")
	f := fields{message: m}
	f.put("Host", host)
	var few [24]string
	for _, name := range forwarded(few[:0], req.Header) {
		if replaced(name, req.Forward) {
			continue
		}
		for _, v := range req.Header[name] {
			f.put(name, v)
		}
	}
	for _, own := range req.Forward {
		f.put(own.Name, own.Value)
	}
	if req.Via != "" {
		f.put("Via", req.Via)
	}
	f.forwardedFor(said)
	f.framing()
	m.add("\r\n")
	return f.err
}

// oneWord tells whether a target stays one word of the request line. HTTP/2 lets a client send others.
func oneWord(target string) bool {
	return !strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// replaced tells whether one of our fields takes the place of the client's.
func replaced(name string, ours []replay.Field) bool {
	for i := range ours {
		if strings.EqualFold(ours[i].Name, name) {
			return true
		}
	}
	return false
}

func (m *message) add(parts ...string) {
	for _, p := range parts {
		m.block = append(m.block, p...)
	}
}

// fields writes field lines and remembers the first that cannot be one.
type fields struct {
	*message
	err error
}

func (f *fields) put(name, value string) {
	if f.err == nil && !httpguts.ValidHeaderFieldName(name) {
		f.err = fmt.Errorf("field name %q is not a token", name)
	}
	if f.err == nil && !httpguts.ValidHeaderFieldValue(value) {
		f.err = fmt.Errorf("the value of %s has control characters", name)
	}
	f.add(name, ": ", value, "\r\n")
}

func (f *fields) forwardedFor(said hearsay) {
	if said.addresses != "" {
		f.put("X-Forwarded-For", said.addresses)
	}
	f.put("X-Forwarded-Host", said.host)
	f.put("X-Forwarded-Proto", said.proto)
}

// framing says where the body ends. Without a body it says so only where a method lets one expect it (RFC 9110 section 8.6).
func (f *fields) framing() {
	switch {
	case f.chunked:
		f.put("Transfer-Encoding", "chunked")
		f.put("Trailer", strings.Join(slices.Sorted(maps.Keys(f.trailer)), ", "))
	case f.left > 0 || f.method == http.MethodPost || f.method == http.MethodPut || f.method == http.MethodPatch:
		f.put("Content-Length", strconv.FormatInt(f.left, 10))
	}
}

// next replaces the block, which was written, by the next one.
func (m *message) next() error {
	m.block = m.block[:0]
	return m.fill()
}

// fill appends the next piece of the body to the block, and its end if it has a written one.
func (m *message) fill() error {
	if n := min(m.left, blockSize); n > 0 {
		if err := m.append(int(n)); err != nil {
			return err
		}
	}
	if m.left > 0 || !m.chunked {
		return nil
	}
	m.add("0\r\n")
	f := fields{message: m}
	for _, name := range slices.Sorted(maps.Keys(m.trailer)) {
		for _, v := range m.trailer[name] {
			f.put(name, v)
		}
	}
	m.add("\r\n")
	return f.err
}

// append adds n bytes of the body, as a chunk if the body is chunked.
func (m *message) append(n int) error {
	if m.chunked {
		m.block = append(strconv.AppendInt(m.block, int64(n), 16), "\r\n"...)
	}
	start := len(m.block)
	m.block = slices.Grow(m.block, n)[:start+n]
	if _, err := io.ReadFull(m.body, m.block[start:]); err != nil {
		return fmt.Errorf("reading the spooled body: %w", err)
	}
	m.left -= int64(n)
	if m.chunked {
		m.add("\r\n")
	}
	return nil
}
