package h1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// What a plain request has at most: bytes with its body, and fields.
const (
	mostBytes  = 16 << 10
	mostFields = 64
)

// A verdict is what is at the start of a connection's bytes.
type verdict uint8

const (
	incomplete verdict = iota // perhaps a plain request, of which more is to come
	plain
	other // for net/http
)

// A parsed request has been read, and the length of what it was read from.
type parsed struct {
	method, target, host string
	url                  *url.URL
	header               http.Header
	head, length         int // bytes of the head, and of all; what is between them is the body
}

// What may stand where. A name, as a method, is a token (RFC 9110, section 5.6.2); a target has what a path and a query may have (RFC 3986, section 3.3), and an easy
// path is one that net/url would keep as it is; a host is one without blanks, user or coded bytes.
var (
	inName   = set("!#$%&'*+-.^_`|~", alphanumeric)
	inTarget = set("-._~!$&'()*+,;=:@/?%", alphanumeric)
	inPath   = set("-_.~$&+,/:;=@", alphanumeric)
	inHost   = set("-.:[]_", alphanumeric)
	inMethod = set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
)

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func set(of ...string) *[256]bool {
	var s [256]bool
	for _, some := range of {
		for i := range len(some) {
			s[some[i]] = true
		}
	}
	return &s
}

// only tells whether s has nothing but what is in a set.
func only(s string, in *[256]bool) bool {
	for i := range len(s) {
		if !in[s[i]] {
			return false
		}
	}
	return true
}

// parse reads the request at the start of b.
func (p *parsed) parse(b []byte) verdict {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	switch {
	case end >= 0:
	case len(b) < mostBytes && (len(b) == 0 || inMethod[b[0]]):
		return incomplete
	default:
		return other
	}
	p.head = end + len("\r\n\r\n")
	text := string(b[:end+len("\r\n")]) // lines, each with its end
	line, fields, _ := strings.Cut(text, "\r\n")
	if !p.parseLine(line) {
		return other
	}
	body, ok := p.parseFields(fields)
	if !ok || body > mostBytes-p.head {
		return other
	}
	p.length = p.head + body
	if len(b) < p.length {
		return incomplete
	}
	return plain
}

// parseLine reads the request line (RFC 9112, section 3).
func (p *parsed) parseLine(line string) bool {
	var version string
	var ok bool
	if p.method, line, ok = strings.Cut(line, " "); !ok {
		return false
	}
	if p.target, version, ok = strings.Cut(line, " "); !ok || version != "HTTP/1.1" {
		return false
	}
	if p.method == "" || p.method == http.MethodConnect || !only(p.method, inMethod) {
		return false
	}
	if !strings.HasPrefix(p.target, "/") || strings.HasPrefix(p.target, "//") || !only(p.target, inTarget) {
		return false
	}
	path, query, asked := strings.Cut(p.target, "?")
	if only(path, inPath) && (query != "" || !asked) {
		p.url = &url.URL{Path: path, RawQuery: query}
		return true
	}
	var err error
	p.url, err = url.ParseRequestURI(p.target)
	return err == nil
}

// parseFields reads the fields (RFC 9112, section 5), and returns how long the body is.
func (p *parsed) parseFields(lines string) (body int, ok bool) {
	p.header = make(http.Header, 8)
	values := make([]string, 8) // room for one of each
	length := ""
	for n := 0; lines != ""; n++ {
		i := strings.IndexByte(lines, '\r')
		if n == mostFields || i < 0 || i+1 == len(lines) || lines[i+1] != '\n' {
			return 0, false
		}
		name, value, ok := strings.Cut(lines[:i], ":")
		lines = lines[i+len("\r\n"):]
		if !ok || name == "" || !only(name, inName) || !printable(value) {
			return 0, false
		}
		name, value = textproto.CanonicalMIMEHeaderKey(name), textproto.TrimString(value)
		switch name {
		case "Host":
			if p.host != "" || value == "" || !only(value, inHost) {
				return 0, false
			}
			p.host = value
			continue // net/http has it in the request, and not among its fields
		case "Content-Length":
			if length != "" || value == "" {
				return 0, false
			}
			length = value
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return 0, false
			}
		case "Transfer-Encoding", "Upgrade", "Expect", "Trailer", "Pragma":
			return 0, false
		}
		if before, ok := p.header[name]; ok {
			p.header[name] = append(before, value)
			continue
		}
		if len(values) == 0 {
			values = make([]string, 8)
		}
		values[0] = value
		p.header[name], values = values[:1:1], values[1:]
	}
	if length != "" {
		var err error
		if body, err = strconv.Atoi(length); err != nil || body < 0 || strconv.Itoa(body) != length {
			return 0, false
		}
	}
	return body, p.host != ""
}

// printable tells whether s has only what is seen of ASCII, blanks and tabs.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < ' ' || c > '~') && c != '\t' {
			return false
		}
	}
	return true
}
