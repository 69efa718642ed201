package replay

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// resolveLinks makes the references in h that are relative to target absolute enough to hold at any address of
// the same origin. What does not depend on the target's path, or is no reference, stays as it is, byte for byte.
func resolveLinks(h http.Header, target string) {
	base, err := url.ParseRequestURI(target) // which has no authority, also where it begins with two slashes
	if err != nil {
		return
	}
	for _, name := range []string{"Location", "Content-Location"} {
		mapValues(h, name, func(v string) string { return resolve(base, v) })
	}
	mapValues(h, "Link", func(v string) string { return resolveLink(base, v) })
	mapValues(h, "Refresh", func(v string) string { return resolveRefresh(base, v) })
}

// mapValues replaces the values of a field, in a slice of its own.
func mapValues(h http.Header, name string, f func(string) string) {
	values, ok := h[name]
	if !ok {
		return
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = f(v)
	}
	h[name] = out
}

func resolve(base *url.URL, ref string) string {
	if strings.HasPrefix(ref, "/") {
		return ref
	}
	u, err := url.Parse(ref)
	if err != nil || u.IsAbs() {
		return ref
	}
	r := base.ResolveReference(u)
	if r.Host == "" && strings.HasPrefix(r.Path, "//") { // RFC 3986, section 4.2: a path, and no authority
		return "/.//" + strings.TrimLeft(r.String(), "/")
	}
	return r.String()
}

// refreshBegin is how Refresh begins, up to its address (HTML standard, "shared declarative refresh steps").
var refreshBegin = regexp.MustCompile(`^[ \t]*[0-9.]+(?:[ \t]*[;,]|[ \t])[ \t]*(?i:url[ \t]*=[ \t]*)?["']?`)

// resolveRefresh resolves the address that a browser is led to after a while. Where there is none it stays where it is.
func resolveRefresh(base *url.URL, v string) string {
	begin := refreshBegin.FindString(v)
	if begin == "" || begin == v {
		return v
	}
	address, end := v[len(begin):], ""
	quote := begin[len(begin)-1:]
	if quote != `"` && quote != "'" {
		return begin + resolve(base, address)
	}
	if i := strings.Index(address, quote); i >= 0 {
		address, end = address[:i], address[i:]
	}
	if address == "" {
		return v
	}
	return begin + strings.ReplaceAll(resolve(base, address), quote, url.QueryEscape(quote)) + end // the target may have one
}

// anchorParam is how the parameter begins that says what a link is about (RFC 8288 section 3.2), up to its value.
var anchorParam = regexp.MustCompile(`^;[ \t]*(?i:anchor)[ \t]*=[ \t]*`)

// resolveLink resolves every link target, <…> outside quoted strings, of a Link field, and every anchor (RFC 8288 section 3).
func resolveLink(base *url.URL, v string) string {
	var out strings.Builder
	quoted := false
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case quoted && c == '\\' && i+1 < len(v):
			out.WriteByte(c)
			i++
			c = v[i]
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			if anchor := anchorParam.FindString(v[i:]); anchor != "" {
				text, ref := paramValue(v[i+len(anchor):])
				i += len(anchor) + len(text) - 1
				if r := resolve(base, ref); r != ref {
					text = `"` + r + `"`
				}
				out.WriteString(anchor + text)
				continue
			}
		case c == '<' && !quoted:
			if end := strings.IndexByte(v[i:], '>'); end > 0 {
				out.WriteString("<" + resolve(base, v[i+1:i+end]))
				i += end
				c = '>'
			}
		}
		out.WriteByte(c)
	}
	return out.String()
}

// paramValue returns the value that v begins with, as it is written and as it is meant: a quoted string, or all up to the next delimiter. One
// without an end is "/", which stands for itself.
func paramValue(v string) (text, value string) {
	if !strings.HasPrefix(v, `"`) {
		if end := strings.IndexAny(v, ";, \t"); end >= 0 {
			v = v[:end]
		}
		return v, v
	}
	var out strings.Builder
	for i := 1; i < len(v); i++ {
		switch {
		case v[i] == '"':
			return v[:i+1], out.String()
		case v[i] == '\\' && i+1 < len(v):
			i++
		}
		out.WriteByte(v[i])
	}
	return v, "/"
}
