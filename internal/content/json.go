package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postonce/poe/internal/replay"
)

// maxDepth is how deep a JSON document may be nested.
const maxDepth = 100

// member returns the value at a JSON pointer.
func (r *reader) member(p Place) (string, error) {
	if r.json == nil {
		kind, _ := r.mediaType()
		if kind != "application/json" && !strings.HasSuffix(kind, "+json") {
			return "", malformed("is not JSON, by its Content-Type")
		}
		if err := r.inUTF8(); err != nil {
			return "", err
		}
		if !replay.Marked(r.src.Header) { // it may be JSON to an application that does not decode, too
			return "", malformed("has a Content-Encoding other than gzip and zstd")
		}
		b, err := r.text()
		if err != nil {
			return "", err
		}
		if r.json, err = parse(b, r.ways); err != nil {
			return "", err
		}
	}
	if respelled(r.json, p.pointer.DecodedTokens()) {
		return "", malformed("has a member in two spellings that differ only in case")
	}
	v, _, err := p.pointer.Get(r.json)
	if err != nil {
		return "", missing(p, "is missing")
	}
	switch v := v.(type) {
	case string:
		if strings.ContainsRune(v, utf8.RuneError) { // half of a surrogate pair, which is not the same to all
			return "", malformed("has a text that is not Unicode")
		}
		return only(p, []string{v})
	case json.Number:
		if rounded(v.String()) {
			return "", malformed("has a number that most applications round")
		}
		return "n:" + number(v.String()), nil
	case bool:
		return "b:" + strconv.FormatBool(v), nil
	case nil:
		return "", missing(p, "is null")
	default:
		return "", missing(p, "is not a plain value")
	}
}

// respelled tells whether a member on the way to a value has a neighbour whose name differs only in case: applications differ in which of the two
// they take.
func respelled(v any, way []string) bool {
	for _, step := range way {
		switch in := v.(type) {
		case map[string]any:
			for name := range in {
				if name != step && strings.EqualFold(name, step) {
					return true
				}
			}
			v = in[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(in) {
				return false
			}
			v = in[i]
		default:
			return false
		}
	}
	return false
}

// ParseJSON reads one document, not null, into what encoding/json makes of it, with numbers as json.Number. Its errors are *FormatError. A member that is there twice is an error, since applications differ in which of the two they take.
func ParseJSON(b []byte) (any, error) { return parse(b, [][]string{nil}) }

// parse is ParseJSON for who wants what lies at the end of those ways alone: of what is beside them nothing is kept but names.
func parse(b []byte, ways [][]string) (any, error) {
	if !utf8.Valid(b) {
		return nil, malformed("is not JSON: it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := parseValue(d, 0, ways)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("has more after its JSON value")
	}
	if v == nil {
		return nil, malformed("is null")
	}
	return v, nil
}

// along returns what is left of ways behind a step. One that has ended keeps all that follows.
func along(ways [][]string, step string) (rest [][]string) {
	for _, w := range ways {
		switch {
		case len(w) == 0:
			rest = append(rest, w)
		case w[0] == step:
			rest = append(rest, w[1:])
		}
	}
	return rest
}

func parseValue(d *json.Decoder, depth int, ways [][]string) (any, error) {
	if depth > maxDepth {
		return nil, malformed("is nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, malformed("is not JSON")
	}
	switch t {
	case json.Delim('{'):
		return parseObject(d, depth, ways)
	case json.Delim('['):
		list := []any{}
		for i := 0; d.More(); i++ {
			v, err := parseValue(d, depth+1, along(ways, strconv.Itoa(i)))
			if err != nil {
				return nil, err
			}
			if len(ways) > 0 {
				list = append(list, v)
			}
		}
		_, err := d.Token()
		return list, notJSON(err)
	default:
		return t, nil
	}
}

func parseObject(d *json.Decoder, depth int, ways [][]string) (any, error) {
	object := map[string]any{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, malformed("is not JSON")
		}
		if _, twice := object[name]; twice {
			return nil, malformed("has a member twice")
		}
		if object[name], err = parseValue(d, depth+1, along(ways, name)); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	if len(ways) == 0 {
		return nil, notJSON(err) // nobody asks for it
	}
	return object, notJSON(err)
}

func notJSON(err error) error {
	if err != nil {
		return malformed("is not JSON")
	}
	return nil
}

// number writes a JSON number so that 1, 1.0 and 10e-1 are the same: the digits without zeros at either end, and the exponent.
// It never computes with the number, which may have any size.
func number(s string) string {
	sign := ""
	if rest, negative := strings.CutPrefix(s, "-"); negative {
		s, sign = rest, "-"
	}
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil || e > 1e9 || e < -1e9 {
			return sign + s // as it is written: nobody means it
		}
		mantissa, exponent = s[:i], e
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short)
	if short == "" {
		return "0"
	}
	return sign + short + "e" + strconv.Itoa(exponent)
}

// rounded tells whether a number that is not written as a whole one is another to an application that reads it as a double, as most do.
func rounded(s string) bool {
	if !strings.ContainsAny(s, ".eE") {
		return false // those that have such numbers know them
	}
	f, err := strconv.ParseFloat(s, 64)
	return err != nil || number(strconv.FormatFloat(f, 'e', -1, 64)) != number(s)
}
