package replay

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// maxCodings is how many codings, one over the other, are undone. Each costs memory; nobody uses two.
const maxCodings = 2

// maxWindow is the largest window that a decoder may ask for, in bytes (RFC 9659).
const maxWindow = 8 << 20

// contentCodings returns the codings of the content in the order in which they were applied, in lower case.
func contentCodings(h http.Header) []string {
	var codings []string
	for _, v := range h["Content-Encoding"] {
		for c := range elements(v) {
			if c = canonicalCoding(c); c != "identity" {
				codings = append(codings, c)
			}
		}
	}
	return codings
}

func canonicalCoding(c string) string {
	switch c = strings.ToLower(c); c {
	case "x-gzip":
		return "gzip" // RFC 9110 section 8.4.1.3
	default:
		return c
	}
}

// acceptsAll tells whether the client of a request with fields h accepts all codings (RFC 9110 section 12.5.3).
func acceptsAll(h http.Header, codings []string) bool {
	lines, ok := h["Accept-Encoding"]
	if !ok || len(codings) == 0 {
		return true
	}
	accepted, rest := map[string]bool{}, false
	for _, line := range lines {
		for e := range elements(line) {
			name, params, _ := strings.Cut(e, ";")
			name = canonicalCoding(textproto.TrimString(name))
			if name == "*" {
				rest = weighs(params)
			} else {
				accepted[name] = weighs(params)
			}
		}
	}
	return !slices.ContainsFunc(codings, func(c string) bool {
		yes, named := accepted[c]
		return !yes && (named || !rest)
	})
}

// weighs tells whether the weight in params is above zero. No weight is 1 (RFC 9110 section 12.4.2).
func weighs(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(textproto.TrimString(p), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			return err == nil && q > 0
		}
	}
	return true
}

// Decoded returns content without the codings that h says it has (RFC 9110, section 8.4), and false if that cannot be done: some may
// have been read by then. Without codings it is content itself. done, if not nil, ends its use. Memory is bounded, the length is not.
func Decoded(h http.Header, content io.Reader) (decoded io.Reader, done func(), ok bool) {
	codings := contentCodings(h)
	if len(codings) == 0 {
		return content, func() {}, true
	}
	return decode(content, codings)
}

// Coded tells whether h says that the content has codings.
func Coded(h http.Header) bool { return len(contentCodings(h)) > 0 }

// Marked tells whether h says of the content only codings whose first bytes nobody takes for text: gzip (RFC 1952) and zstd (RFC 8878).
func Marked(h http.Header) bool {
	return !slices.ContainsFunc(contentCodings(h), func(c string) bool { return c != "gzip" && c != "zstd" })
}

// decode returns content without its codings, and false if that cannot be done: some may have been read by then. Memory is
// bounded by the decoders' windows, however long the content becomes.
func decode(content io.Reader, codings []string) (decoded io.Reader, done func(), ok bool) {
	if len(codings) > maxCodings {
		return nil, nil, false
	}
	var open []func()
	done = func() {
		for _, f := range open {
			f()
		}
	}
	decoded = content
	for _, c := range slices.Backward(codings) {
		r, closer := newDecoder(c, decoded)
		if closer != nil {
			open = append(open, closer)
		}
		if r == nil {
			done()
			return nil, nil, false
		}
		// A look at the first byte, while there is still time to send the content as it is.
		look := bufio.NewReader(r)
		if _, err := look.Peek(1); err != nil && err != io.EOF {
			done()
			return nil, nil, false
		}
		decoded = look
	}
	return decoded, done, true
}

// newDecoder returns nil for a coding that is not known, or content that surely does not have it. The second result, if not
// nil, ends its use.
func newDecoder(coding string, src io.Reader) (io.Reader, func()) {
	switch coding {
	case "gzip":
		if r, err := gzip.NewReader(src); err == nil {
			return r, nil
		}
	case "deflate":
		return newInflater(src), nil
	case "br":
		return brotli.NewReader(src), nil
	case "zstd":
		r, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			return r, r.Close
		}
	}
	return nil, nil
}

// newInflater reads "deflate", which is the zlib format (RFC 9110 section 8.4.1.2), or what some send instead: the bare
// format inside it.
func newInflater(src io.Reader) io.Reader {
	in := bufio.NewReader(src)
	first, err := in.Peek(2)
	if err == nil && first[0]&0x0f == 8 && (int(first[0])<<8|int(first[1]))%31 == 0 {
		if r, err := zlib.NewReader(in); err == nil {
			return r
		}
		return nil
	}
	return flate.NewReader(in)
}
