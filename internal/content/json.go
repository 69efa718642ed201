package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
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
		b, err := r.text()
		if err != nil {
			return "", err
		}
		if r.json, err = ParseJSON(b); err != nil {
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
		return only(p, []string{v})
	case json.Number:
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
func ParseJSON(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, malformed("is not JSON: it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := parseValue(d, 0)
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

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, malformed("is nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, malformed("is not JSON")
	}
	switch t {
	case json.Delim('{'):
		return parseObject(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, notJSON(err)
	default:
		return t, nil
	}
}

func parseObject(d *json.Decoder, depth int) (any, error) {
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
		if object[name], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
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
