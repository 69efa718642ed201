package serve

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// refuse answers what an application might read as another request than we do.
//
// A target with a fragment, or with a backslash in its path, is none (RFC 9112, section 3.2), and some parsers make another path of it. Over HTTP/1.0
// net/http has dropped Transfer-Encoding before we could see it, so that nobody knows where such a request ends (RFC 9112, section 6.1): what follows
// on the connection is not read, and where no length was given nothing is executed.
func refuse(w http.ResponseWriter, r *http.Request) bool {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.Contains(r.RequestURI, "#") || strings.Contains(path, `\`) {
		http.Error(w, "the target of the request is no valid one: it has a fragment, or a backslash in its path", http.StatusBadRequest)
		return true
	}
	if len(r.Header) > mostFields {
		if r.ProtoMajor == 1 { // net/http would keep them until it has read what is left of the body
			w.Header().Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) // an error could only mean that it is closed
		}
		http.Error(w, fmt.Sprintf("the request has more than %d fields", mostFields), http.StatusRequestHeaderFieldsTooLarge)
		return true
	}
	if r.Method != http.MethodConnect && !sendable(r) {
		http.Error(w, "the target of the request is none of the forms that there are, or it or its host has a character that they do not have", http.StatusBadRequest)
		return true
	}
	if r.ProtoMajor == 2 && (!httpguts.ValidHeaderFieldName(r.Method) || unclearLength(r.Header["Content-Length"])) {
		http.Error(w, "the method is no word, or the Content-Length no number", http.StatusBadRequest)
		return true
	}
	if r.ProtoMajor == 2 && blankEnds(r.Header) {
		http.Error(w, "a field begins or ends with a blank", http.StatusBadRequest)
		return true
	}
	if r.ProtoAtLeast(1, 1) {
		return false
	}
	w.Header().Set("Connection", "close")
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if !safe && len(r.Header["Content-Length"]) == 0 {
		http.Error(w, "HTTP/1.0 needs a Content-Length here", http.StatusLengthRequired)
		return true
	}
	return false
}

// mostFields is how many fields of different names a request may have. In MaxHeaderBytes there is room for thousands, of which each takes some twenty times as much
// in memory as on its way, for as long as its request is under way.
const mostFields = 256

// sendable tells whether a target has the form of a path or of an http(s) URI (RFC 9112, section 3.2; RFC 9110, section 4.2.1: with an authority), and whether it and
// the host can be sent on. What net/url calls opaque, http:foo:/orders, would be sent as foo:/orders, which many take for /orders; and of http:/orders nobody knows which host is meant.
func sendable(r *http.Request) bool {
	absolute := r.URL.Scheme != ""
	if r.URL.Opaque != "" || r.URL.Path == "*" && r.Method != http.MethodOptions || absolute && (r.URL.Host == "" || r.URL.Scheme != "http" && r.URL.Scheme != "https") {
		return false
	}
	if r.ProtoMajor < 2 && !absolute { // a line of HTTP/1 has no such character in its target, or net/http has refused it, and so with Host, but not with the host of a URI
		return true
	}
	return !strings.ContainsFunc(r.RequestURI, func(c rune) bool { return c <= ' ' || c == 0x7f }) &&
		httpguts.ValidHostHeader(r.Host)
}

// unclearLength tells whether nobody knows how long a body is by these lines. Over HTTP/2 net/http takes what is no number for 0, and the first of several: what passes
// through would come to the application without its body (RFC 9113, section 8.1.1, forbids to forward it).
func unclearLength(lines []string) bool {
	if len(lines) == 0 {
		return false
	}
	_, err := strconv.ParseUint(lines[0], 10, 63)
	return err != nil || len(lines) > 1
}

// blankEnds tells whether a field's value begins or ends with a blank, which RFC 9113, section 8.2.1, forbids and net/http does not look at. Over HTTP/1.1 the
// application gets it without, and would read another value than the gate did.
func blankEnds(h http.Header) bool {
	for _, values := range h {
		for _, v := range values {
			if v != textproto.TrimString(v) {
				return true
			}
		}
	}
	return false
}
