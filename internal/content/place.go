package content

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-openapi/jsonpointer"
	"golang.org/x/net/http/httpguts"
)

// A Place is where a request says something: "json:/email" (a JSON pointer, RFC 6901), "form:email" (a member of a form, as
// application/x-www-form-urlencoded or multipart/form-data), "header:X-Order" or "path:id". What stands there can be made alike by words
// after bars: "json:/email|lower|trim", where lower is for letters, trim for spaces at the ends, and squash for spaces in a row.
type Place struct {
	text    string
	kind    string
	name    string
	pointer jsonpointer.Pointer
	words   []string
}

// String returns the place as it was written.
func (p Place) String() string { return p.text }

// Variable returns the name of the path's variable that p is; false: it is something else.
func (p Place) Variable() (string, bool) { return p.name, p.kind == "path" }

var wordList = []string{"lower", "trim", "squash"}

// ParsePlace reads a place. The error says what is wrong with it.
func ParsePlace(text string) (Place, error) {
	at, words, more := strings.Cut(text, "|")
	kind, name, _ := strings.Cut(at, ":")
	p := Place{text: text, kind: kind, name: name}
	if name == "" {
		return Place{}, fmt.Errorf("place %q: must be json:/POINTER, form:NAME, header:NAME or path:NAME", text)
	}
	var err error
	switch kind {
	case "json":
		p.pointer, err = parsePointer(name)
	case "header":
		if !httpguts.ValidHeaderFieldName(name) {
			err = errors.New("is not a field name")
		}
	case "form", "path":
	default:
		err = errors.New("must be json:/POINTER, form:NAME, header:NAME or path:NAME")
	}
	if err != nil {
		return Place{}, fmt.Errorf("place %q: %w", text, err)
	}
	if more {
		p.words = strings.Split(words, "|")
	}
	for _, w := range p.words {
		if !slices.Contains(wordList, w) {
			return Place{}, fmt.Errorf("place %q: the word %q is none of %s", text, w, strings.Join(wordList, ", "))
		}
	}
	return p, nil
}

func parsePointer(s string) (jsonpointer.Pointer, error) {
	for i := range len(s) {
		if s[i] == '~' && (i+1 == len(s) || s[i+1] != '0' && s[i+1] != '1') {
			return jsonpointer.Pointer{}, errors.New("has a ~ that is neither ~0 nor ~1")
		}
	}
	p, err := jsonpointer.New(s)
	if err != nil || !strings.HasPrefix(s, "/") {
		return p, errors.New("is not a JSON pointer, such as /email")
	}
	return p, nil
}

// alike applies the words of the place.
func (p *Place) alike(s string) string {
	for _, w := range p.words {
		switch w {
		case "lower":
			s = strings.ToLower(s)
		case "trim":
			s = strings.TrimSpace(s)
		case "squash":
			s = strings.Join(strings.FieldsFunc(" "+s+" ", isSpace), " ")
		}
	}
	return s
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\u00a0' }
