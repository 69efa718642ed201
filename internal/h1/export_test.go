package h1

import (
	"net/http"
	"net/url"
)

// What Parse finds.
const (
	Incomplete = incomplete
	Plain      = whole
	Other      = other
)

// MostBytes is how long a plain request may be.
const MostBytes = mostBytes

// A Parsed request is a plain one.
type Parsed struct {
	Method, Target, Host string
	URL                  *url.URL
	Header               http.Header
	Head, Length         int
}

// Parse reads the request at the start of b.
func Parse(b []byte) (Parsed, verdict) {
	var p parsed
	v := p.parse(b)
	return Parsed{p.method, p.target, p.host, &p.url, p.header, p.head, p.length}, v
}

// Ours tells whether a response is one of this package.
func Ours(w http.ResponseWriter) bool {
	_, ok := w.(*response)
	return ok
}
