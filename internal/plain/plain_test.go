package plain_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/plain"
)

// A head is cut where it ends, whatever follows.
func TestCut(t *testing.T) {
	for in, want := range map[string]struct {
		line, fields string
		length       int
	}{
		"a\r\nb: c\r\nd: e\r\n\r\nf\r\n\r\n": {"a", "b: c\r\nd: e\r\n", 17}, "a\r\n\r\n": {"a", "", 5}, "\r\n\r\n": {"", "", 4}, "a\n\r\n\r\n": {"a\n", "", 6},
	} {
		if line, fields, length, ok := plain.Cut([]byte(in)); !ok || line != want.line || fields != want.fields || length != want.length {
			t.Errorf("%q: %q %q %d %t", in, line, fields, length, ok)
		}
	}
	for _, in := range []string{"", "a", "a\r\n", "a\r\nb: c\r\n", "a\r\n\r", "a\n\n", "a\r\n\n"} {
		if _, _, _, ok := plain.Cut([]byte(in)); ok {
			t.Errorf("%q has an end", in)
		}
	}
}

// Fields are kept under their canonical names, in their order, and refused where they could be read otherwise.
func TestFields(t *testing.T) {
	use := func(name, value string) plain.Use {
		switch {
		case name == "Left":
			return plain.Leave
		case value == "refused":
			return plain.Refuse
		default:
			return plain.Keep
		}
	}
	many := http.Header{}
	for _, c := range plain.Alphanumeric[:40] {
		many.Set("X-"+string(c), "v")
	}
	var lines strings.Builder
	_ = many.Write(&lines)
	for in, want := range map[string]http.Header{
		"": {}, "a: b\r\nA:\t c \t\r\nleft: x\r\nX-Y:\r\n": {"A": {"b", "c"}, "X-Y": {""}}, "a:b:c\r\n": {"A": {"b:c"}}, lines.String(): many,
		"a: b\nc: d\r\n": nil, "a: b\r\n c\r\n": nil, "a : b\r\n": nil, ": b\r\n": nil, "a\r\n": nil, "a: b\r": nil, "a: b\rc\r\n": nil, "a: \x00\r\n": nil, "a: \x7f\r\n": nil, "a: \xe4\r\n": nil, "\xe4: a\r\n": nil,
		"a: refused\r\n": nil, "a: b": nil, "\r\n": nil, strings.Repeat("a: b\r\n", 65): nil,
	} {
		got, ok := plain.Fields(in, new(plain.Room), use)
		if ok != (want != nil) || ok && !cmp.Equal(got, want) {
			t.Errorf("%.60q: %v %t, want %v", in, got, ok, want)
		}
	}
	h, _ := plain.Fields("a: 1\r\nb: 2\r\n", new(plain.Room), use)
	h.Add("A", "3") // has no room in common with its neighbour
	if want := (http.Header{"A": {"1", "3"}, "B": {"2"}}); !cmp.Equal(h, want) {
		t.Errorf("%v, want %v", h, want)
	}
}

// A length is spelled in one way.
func TestLength(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "10": 10, "9223372036854775807": 1<<63 - 1, "": -1, "00": -1, "01": -1, "+1": -1, "-1": -1, "-0": -1, "1 ": -1, "0x1": -1, "1_0": -1, "9223372036854775808": -1, "1,1": -1,
	} {
		if n, ok := plain.Length(in); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d %t", in, n, ok)
		}
	}
}
