package content

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/postonce/poe/internal/replay"
)

// A MissingError says that a request does not say one thing, once, at a place.
type MissingError struct {
	Place Place
	Why   string // one line, with nothing of the request in it
}

// Error names the place and the reason.
func (e *MissingError) Error() string { return fmt.Sprintf("%s %s", e.Place, e.Why) }

// A FormatError says that a body cannot be looked into.
type FormatError struct{ Why string }

// Error tells why.
func (e *FormatError) Error() string { return "the body " + e.Why }

func missing(p Place, why string) error { return &MissingError{Place: p, Why: why} }
func malformed(format string, args ...any) error {
	return &FormatError{Why: fmt.Sprintf(format, args...)}
}

// Read returns what the request says at each place, in their order. A text begins with "s:", a number, in one spelling for each
// value, with "n:", true and false with "b:": so no two values run together. What is absent, empty, null, not one plain value,
// or there twice is a *MissingError; a body that is not what a place asks for is a *FormatError.
func Read(places []Place, src Source) ([]string, error) {
	r := reader{src: src}
	for _, p := range places {
		if p.kind == "json" {
			r.ways = append(r.ways, p.pointer.DecodedTokens())
		}
	}
	defer r.look()()
	out := make([]string, len(places))
	for i, p := range places {
		v, err := r.value(p)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// A reader looks into one request, and parses its body once.
type reader struct {
	src  Source
	json any
	ways [][]string // to what is wanted of it
	form map[string][]string
}

func (r *reader) value(p Place) (string, error) {
	switch p.kind {
	case "json":
		return r.member(p)
	case "form":
		if inQuery(r.src.Query, p.name) { // some applications take that one
			return "", malformed("is a form, and %s is in the query too", p)
		}
		if r.form == nil {
			var err error
			if r.form, err = r.parseForm(); err != nil {
				return "", err
			}
		}
		for name := range r.form { // some applications take another case for the same member
			if name != p.name && strings.EqualFold(name, p.name) {
				return "", malformed("has a member whose name differs from that of %s in case alone", p)
			}
		}
		return only(p, r.form[p.name])
	case "header":
		if strings.EqualFold(p.name, "Host") { // net/http keeps it out of the fields
			return only(p, []string{r.src.Host})
		}
		return only(p, r.src.Header.Values(p.name))
	default:
		v, ok := r.src.Vars[p.name]
		if !ok {
			return "", missing(p, "is not a variable of the path")
		}
		return only(p, []string{v})
	}
}

// inQuery tells whether a query has a member of that name, in any case.
func inQuery(query, name string) bool {
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		key, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(key); err == nil {
			key = plain
		}
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

// only returns the one text that is there.
func only(p Place, values []string) (string, error) {
	switch {
	case len(values) == 0:
		return "", missing(p, "is missing")
	case len(values) > 1:
		return "", missing(p, "is there twice")
	}
	v := p.alike(values[0])
	if v == "" {
		return "", missing(p, "is empty")
	}
	return "s:" + v, nil
}

// mediaType returns the type without parameters, in lower case.
func (r *reader) mediaType() (string, map[string]string) {
	lines := r.src.Header["Content-Type"]
	if len(lines) != 1 {
		return "", nil
	}
	t, params, err := mime.ParseMediaType(lines[0])
	if err != nil {
		return "", nil
	}
	return t, params
}

// text returns the body without its codings.
func (r *reader) text() ([]byte, error) {
	if r.src.Size > limit {
		return nil, malformed("is over %d bytes, which is too long to look into", limit)
	}
	decoded, done, ok := replay.Decoded(r.src.Header, r.src.Body())
	if !ok {
		return nil, malformed("is not what its Content-Encoding says")
	}
	defer done()
	b, err := io.ReadAll(io.LimitReader(decoded, limit+1))
	switch {
	case err != nil:
		return nil, malformed("is not what its Content-Encoding says")
	case len(b) > limit:
		return nil, malformed("is over %d bytes, which is too long to look into", limit)
	}
	return b, nil
}

func (r *reader) parseForm() (map[string][]string, error) {
	kind, params := r.mediaType()
	if replay.Coded(r.src.Header) { // some applications decode it, others do not, and it can be a form to both
		return nil, malformed("is a form with a Content-Encoding")
	}
	if strings.Contains(r.src.Header.Get("Content-Type"), "*") { // RFC 2231; to others the parameter is another one
		return nil, malformed("is a form whose Content-Type has a parameter in parts or with a charset")
	}
	if err := r.inUTF8(); err != nil {
		return nil, err
	}
	b, err := r.text()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(b))
		if err != nil {
			return nil, malformed("is not a form")
		}
		return form, plainForm(form, "")
	case "multipart/form-data":
		form, err := parts(multipart.NewReader(strings.NewReader(string(b)), params["boundary"]))
		if err != nil {
			return nil, err
		}
		return form, plainForm(form, "--"+params["boundary"])
	default:
		return nil, malformed("is not a form, by its Content-Type")
	}
}

// parts reads the members of a form that are not files.
func parts(in *multipart.Reader) (map[string][]string, error) {
	form := map[string][]string{}
	for n := 0; ; n++ {
		if n > maxParts {
			return nil, malformed("is a form of more than %d parts", maxParts)
		}
		p, err := in.NextRawPart()
		if errors.Is(err, io.EOF) {
			return form, nil
		}
		if err != nil {
			return nil, malformed("is not a form")
		}
		if err := plainPart(p.Header); err != nil {
			return nil, err
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return nil, malformed("is not a form")
		}
		if p.FileName() == "" {
			form[p.FormName()] = append(form[p.FormName()], string(value))
		}
	}
}

// plainPart wants a part of a form that all read alike: with one name, said once, as RFC 7578 has it, and uncoded.
func plainPart(h textproto.MIMEHeader) error {
	if coding := h["Content-Transfer-Encoding"]; len(coding) > 0 {
		switch strings.ToLower(coding[0]) {
		case "7bit", "8bit", "binary":
		default: // RFC 7578, section 4.7; some applications decode it, others do not
			return malformed("is a form with a Content-Transfer-Encoding")
		}
		if len(coding) > 1 {
			return malformed("is a form with a part that has two Content-Transfer-Encodings")
		}
	}
	if _, params, err := mime.ParseMediaType(h.Get("Content-Type")); err == nil && !isUTF8(params["charset"]) {
		return malformed("is a form with a part that is not in UTF-8")
	}
	lines := h["Content-Disposition"]
	if len(lines) != 1 {
		return malformed("is a form with a part that does not have one name")
	}
	disposition, params, err := mime.ParseMediaType(lines[0])
	if err != nil || disposition != "form-data" || params["name"] == "" || strings.Contains(strings.ToLower(lines[0]), "name*") {
		return malformed("is a form with a part that does not have one name")
	}
	return nil
}

// plainForm wants members that all read alike: in UTF-8, and without a line that begins with the boundary, at which some end a member.
func plainForm(form map[string][]string, boundary string) error {
	for name, values := range form {
		for _, v := range append(values, name) {
			if !utf8.ValidString(v) {
				return malformed("is a form that is not in UTF-8")
			}
			if boundary != "" && (strings.HasPrefix(v, boundary) || strings.ContainsAny(v, "\r\n") && (strings.Contains(v, "\n"+boundary) || strings.Contains(v, "\r"+boundary))) {
				return malformed("is a form with a member that has a boundary in it")
			}
		}
		if name == "_charset_" && (len(values) != 1 || !isUTF8(values[0])) {
			return malformed("is a form that is not in UTF-8")
		}
	}
	return nil
}

// inUTF8 wants a body whose type does not say that it is in another charset.
func (r *reader) inUTF8() error {
	if _, params := r.mediaType(); !isUTF8(params["charset"]) {
		return malformed("is not in UTF-8, by its Content-Type")
	}
	return nil
}

func isUTF8(charset string) bool {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii":
		return true
	}
	return false
}
