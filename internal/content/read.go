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
	form map[string][]string
}

func (r *reader) value(p Place) (string, error) {
	switch p.kind {
	case "json":
		return r.member(p)
	case "form":
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
		return form, nil
	case "multipart/form-data":
		return parts(multipart.NewReader(strings.NewReader(string(b)), params["boundary"]))
	default:
		return nil, malformed("is not a form, by its Content-Type")
	}
}

// parts reads the members of a form that are not files.
func parts(in *multipart.Reader) (map[string][]string, error) {
	form := map[string][]string{}
	for {
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
