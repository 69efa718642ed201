package core

import (
	"net/http"
	"net/url"
	"strings"
)

// maxTarget is the longest target a POE URI is minted for, in bytes: a token stays under its own limit with it.
const maxTarget = 2048

// requestTarget returns path and query of r octet for octet as the client sent them.
func requestTarget(r *http.Request) string {
	t := r.RequestURI
	if t == "" { // made by hand, not by a server
		return r.URL.RequestURI()
	}
	if strings.HasPrefix(t, "/") || !r.URL.IsAbs() {
		return t
	}
	// Absolute form (RFC 9112, section 3.2.2): what stands behind the authority. Some clients name none (http:/orders), and then a query may have "://" in it.
	_, rest, _ := strings.Cut(t, ":")
	rest, named := strings.CutPrefix(rest, "//")
	if i := strings.IndexAny(rest, "/?"); named && i >= 0 && rest[i] == '/' {
		return rest[i:]
	}
	return r.URL.RequestURI()
}

// splitToken takes the parameter off target. found tells whether any parameter of that name is there, in any
// spelling; ok, that it is the last one, spelled as we mint it, so that what is left is octet for octet
// what was signed. A token is not cut off unless ok.
func splitToken(target, param string) (rest, token string, found, ok bool) {
	_, query, has := strings.Cut(target, "?")
	if !has || !mentions(query, param) {
		return target, "", false, false
	}
	last := query
	if strings.IndexByte(query, '&') >= 0 { // mostly not, and this is much faster than looking from the end
		last = query[strings.LastIndexByte(query, '&')+1:]
	}
	token, ok = strings.CutPrefix(last, param+"=")
	if !ok {
		return target, "", true, false
	}
	rest = target[:len(target)-len(last)-1] // the "?" or "&" goes too
	return rest, token, true, !hasParam(rest, param)
}

func hasParam(target, param string) bool {
	_, query, has := strings.Cut(target, "?")
	return has && mentions(query, param)
}

// mentions tells whether query has a parameter whose name is param once it is decoded. What cannot be decoded is
// compared as it is. The semicolon counts as a separator too: some applications still split at it.
func mentions(query, param string) bool {
	if !strings.Contains(query, param) && !strings.Contains(query, "%") {
		return false
	}
	for query != "" {
		part, rest, _ := strings.Cut(query, "&")
		if i := strings.IndexByte(part, ';'); i >= 0 {
			part, rest = part[:i], query[i+1:]
		}
		query = rest
		name, _, _ := strings.Cut(part, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if name == param {
			return true
		}
	}
	return false
}

// withoutParam takes a parameter out of a query. What is left stays as it is.
func withoutParam(query, param string) string {
	if !strings.Contains(query, "&") { // mostly it is nothing else
		if mentions(query, param) {
			return ""
		}
		return query
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if !mentions(part, param) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// withToken returns the POE URI: target with the token as its last parameter.
func withToken(target, param, token string) string {
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	return target + sep + param + "=" + token
}

// validTarget tells whether target can be signed: one leading slash, no fragment, and only what RFC 3986
// allows in a path and a query, with complete percent-encodings. Such a target cannot leave the
// quotes of POE-Links or the brackets of Link.
func validTarget(target string) bool {
	if target == "" || len(target) > maxTarget || target[0] != '/' || strings.HasPrefix(target, "//") {
		return false
	}
	if strings.IndexByte(target, '?') == len(target)-1 { // an empty query: behind a parser it is none
		return false
	}
	for i := 0; i < len(target); i++ {
		c := target[i]
		switch {
		case c == '%':
			if i+2 >= len(target) || !isHex(target[i+1]) || !isHex(target[i+2]) {
				return false
			}
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~!$&'()*+,;=:@/?", c) >= 0:
		default:
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// asBrowsersSend returns the target that a browser sends where it is given this one: it is the apostrophe of a query that it encodes (URL standard, special-query
// percent-encode set), and only that of what a target can have. A POE URI with one would be another target, and 404, each time.
func asBrowsersSend(target string) string {
	path, query, _ := strings.Cut(target, "?")
	if strings.IndexByte(query, '\'') < 0 {
		return target
	}
	return path + "?" + strings.ReplaceAll(query, "'", "%27")
}

// targetPath returns the decoded path of a valid target.
func targetPath(target string) (string, bool) {
	p, _, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(p)
	return decoded, err == nil && !strings.ContainsRune(decoded, 0)
}

// cleanReferer takes our parameter out of a Referer: the application never sees a token.
func cleanReferer(referer, param string) string {
	base, fragment, hasFragment := strings.Cut(referer, "#")
	path, query, has := strings.Cut(base, "?")
	if !has || !mentions(query, param) {
		return referer
	}
	var kept []string
	for _, part := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		if !mentions(part, param) {
			kept = append(kept, part)
		}
	}
	if len(kept) > 0 {
		path += "?" + strings.Join(kept, "&")
	}
	if hasFragment {
		path += "#" + fragment
	}
	return path
}
