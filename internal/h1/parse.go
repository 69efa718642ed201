package h1

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/postonce/poe/internal/plain"
)

// mostBytes is how long a plain request is at most, with its body.
const mostBytes = 16 << 10

// A verdict is what is at the start of a connection's bytes.
type verdict uint8

const (
	incomplete verdict = iota // perhaps a plain request, of which more is to come
	whole                     // a plain request
	other                     // for net/http
)

// A parsed request has been read, and the length of what it was read from.
type parsed struct {
	method, target, host string
	url                  url.URL
	header               http.Header
	values               plain.Room
	head, length         int // bytes of the head, and of all; what is between them is the body
}

// What may stand where. A target has what a path and a query may have (RFC 3986, section 3.3), and an easy path is one that net/url would keep as it is; a host is one
// without blanks, user or coded bytes.
var (
	inTarget = plain.NewSet("-._~!$&'()*+,;=:@/?%", plain.Alphanumeric)
	inPath   = plain.NewSet("-_.~$&+,/:;=@", plain.Alphanumeric)
	inHost   = plain.NewSet("-.:[]_", plain.Alphanumeric)
	inMethod = plain.NewSet("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
)

// parse reads the request at the start of b.
func (p *parsed) parse(b []byte) verdict {
	line, fields, head, ok := plain.Cut(b)
	switch {
	case ok:
	case len(b) < mostBytes && (len(b) == 0 || inMethod[b[0]]):
		return incomplete
	default:
		return other
	}
	if !p.parseLine(line) {
		return other
	}
	body, ok := p.parseFields(fields)
	if !ok || body > int64(mostBytes-head) {
		return other
	}
	p.head, p.length = head, head+int(body)
	if len(b) < p.length {
		return incomplete
	}
	return whole
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
	if p.method == "" || p.method == http.MethodConnect || !inMethod.Only(p.method) {
		return false
	}
	if !strings.HasPrefix(p.target, "/") || strings.HasPrefix(p.target, "//") || !inTarget.Only(p.target) {
		return false
	}
	path, query, asked := strings.Cut(p.target, "?")
	if inPath.Only(path) && (query != "" || !asked) {
		p.url = url.URL{Path: path, RawQuery: query}
		return true
	}
	u, err := url.ParseRequestURI(p.target)
	if err != nil {
		return false
	}
	p.url = *u
	return true
}

// parseFields reads the fields, and returns how long the body is.
func (p *parsed) parseFields(lines string) (body int64, ok bool) {
	p.host = ""
	sized := false
	p.header, ok = plain.Fields(lines, &p.values, func(name, value string) plain.Use {
		switch name {
		case "Host":
			if p.host != "" || value == "" || !inHost.Only(value) {
				return plain.Refuse
			}
			p.host = value
			return plain.Leave // net/http has it in the request, and not among its fields
		case "Content-Length":
			n, known := plain.Length(value)
			if sized || !known {
				return plain.Refuse
			}
			body, sized = n, true
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return plain.Refuse
			}
		case "Transfer-Encoding", "Upgrade", "Expect", "Trailer", "Pragma":
			return plain.Refuse
		}
		return plain.Keep
	})
	return body, ok && p.host != ""
}
