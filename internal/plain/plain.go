// Package plain reads heads of HTTP/1.1 that nobody could read in two ways: printable ASCII, each line ended by CR LF, names that are tokens. It judges no others: whoever
// asks gives those to net/http, which knows them all. What is taken as plain here is what net/http reads from the same bytes; fuzz tests of those who use it hold that.
package plain

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// A Set tells which bytes may stand somewhere.
type Set [256]bool

// Alphanumeric are the letters and digits of ASCII.
const Alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// NewSet returns the set of the bytes of all strings.
func NewSet(of ...string) *Set {
	s := new(Set)
	for _, some := range of {
		for i := range len(some) {
			s[some[i]] = true
		}
	}
	return s
}

// Only tells whether text has nothing but what is in s.
func (s *Set) Only(text string) bool {
	for i := range len(text) {
		if !s[text[i]] {
			return false
		}
	}
	return true
}

var token = NewSet("!#$%&'*+-.^_`|~", Alphanumeric) // RFC 9110, section 5.6.2

// Printable tells whether text has nothing but what is seen of ASCII, blanks and tabs.
func Printable(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}

// Cut returns the first line of the head that b begins with, its field lines, each with its end, and how long all of it is. There is none where ok is false.
func Cut(b []byte) (line, fields string, length int, ok bool) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return "", "", 0, false
	}
	line, fields, _ = strings.Cut(string(b[:end+len("\r\n")]), "\r\n")
	return line, fields, end + len("\r\n\r\n"), true
}

// A Use is what becomes of a field.
type Use uint8

// What there is.
const (
	Keep   Use = iota // it is one of the header
	Leave             // it is not
	Refuse            // with it the head is not plain
)

// mostFields is how many lines of fields a plain head may have.
const mostFields = 64

// A Room is where the first values of a header lie.
type Room [8]string

// Fields reads field lines (RFC 9112, section 5) into a header as net/http has it. Each is shown to use, with its canonical name. The head is not plain where ok is false.
func Fields(lines string, room *Room, use func(name, value string) Use) (h http.Header, ok bool) {
	h = make(http.Header, len(room))
	values := room[:]
	for n := 0; lines != ""; n++ {
		i := strings.IndexByte(lines, '\r')
		if n == mostFields || i < 0 || i+1 == len(lines) || lines[i+1] != '\n' {
			return nil, false
		}
		name, value, ok := strings.Cut(lines[:i], ":")
		lines = lines[i+len("\r\n"):]
		if !ok || name == "" || !token.Only(name) || !Printable(value) {
			return nil, false
		}
		name, value = textproto.CanonicalMIMEHeaderKey(name), textproto.TrimString(value)
		switch use(name, value) {
		case Refuse:
			return nil, false
		case Leave:
			continue
		case Keep:
		}
		if before, ok := h[name]; ok {
			h[name] = append(before, value)
			continue
		}
		if len(values) == 0 {
			values = make([]string, len(room))
		}
		values[0] = value
		h[name], values = values[:1:1], values[1:]
	}
	return h, true
}

// Length reads a Content-Length that is spelled in the one way that there should be.
func Length(value string) (n int64, ok bool) {
	n, err := strconv.ParseInt(value, 10, 64)
	return n, err == nil && n >= 0 && (value == "0" || value[0] != '0' && value[0] != '+' && value[0] != '-')
}
