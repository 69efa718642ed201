package content_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/content"
)

// source is a request with that body; fields are "Name: value".
func source(body string, fields ...string) content.Source {
	h := http.Header{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add(name, value)
	}
	return content.Source{
		Header: h, Body: func() io.Reader { return strings.NewReader(body) }, Size: int64(len(body)), Digest: sha256.Sum256([]byte(body)),
		Vars: map[string]string{"id": "7"},
	}
}

const (
	isJSON = "Content-Type: application/json"
	isForm = "Content-Type: application/x-www-form-urlencoded"
)

func place(t testing.TB, text string) content.Place {
	t.Helper()
	p, err := content.ParsePlace(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func zipped(t testing.TB, level int, body string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err == nil {
		_, err = io.WriteString(w, body)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// packed is body as zstd, which is one body with a checksum and without.
func packed(t testing.TB, body []byte, checksum bool) string {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(checksum))
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll(body, nil))
}

func TestParsePlace(t *testing.T) {
	for _, good := range []string{"json:/a", "json:/a/0/~0b~1c", "json:/", "form:a b", "header:X-Order", "path:id", "json:/a|lower", "form:a|trim|squash|lower"} {
		if p := place(t, good); p.String() != good {
			t.Errorf("%s became %s", good, p)
		}
	}
	for _, bad := range []string{
		"", "email", "json", "json:", "json:email", "json:/a~", "json:/a~2", "json:#/a", "form:", "header:", "header:a b", "header:ä", "path:", "body:/a", "JSON:/a",
		"json:/a|", "json:/a|upper", "json:/a|lower|", "|lower", ":a", "json:a/b",
	} {
		if _, err := content.ParsePlace(bad); err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("place %q: ", bad)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRead(t *testing.T) {
	multi := "Content-Type: multipart/form-data; boundary=b"
	part := func(name, more, body string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"" + more + "\r\n\r\n" + body + "\r\n"
	}
	for name, tc := range map[string]struct {
		place, body string
		fields      []string
		want        string // "": missing; "!": malformed
	}{
		"text":            {"json:/a", `{"a":"x"}`, []string{isJSON}, "s:x"},
		"deep":            {"json:/a/1/b", `{"a":[0,{"b":"x"}]}`, []string{isJSON}, "s:x"},
		"escaped":         {"json:/a~1b/~0", `{"a/b":{"~":"x"}}`, []string{isJSON}, "s:x"},
		"empty name":      {"json:/", `{"":"x"}`, []string{isJSON}, "s:x"},
		"type suffix":     {"json:/a", `{"a":"x"}`, []string{"Content-Type: application/vnd.x+json; charset=UTF-8"}, "s:x"},
		"number":          {"json:/a", `{"a":42}`, []string{isJSON}, "n:42e0"},
		"1.0":             {"json:/a", `{"a":1.0}`, []string{isJSON}, "n:1e0"},
		"10e-1":           {"json:/a", `{"a":10e-1}`, []string{isJSON}, "n:1e0"},
		"0.1E+1":          {"json:/a", `{"a":0.1E+1}`, []string{isJSON}, "n:1e0"},
		"-0.0":            {"json:/a", `{"a":-0.0}`, []string{isJSON}, "n:0"},
		"huge":            {"json:/a", `{"a":1e999999999}`, []string{isJSON}, "!"},
		"huger":           {"json:/a", `{"a":1e99999999999999999999}`, []string{isJSON}, "!"},
		"exact":           {"json:/a", `{"a":9007199254740993}`, []string{isJSON}, "n:9007199254740993e0"},
		"true":            {"json:/a", `{"a":true}`, []string{isJSON}, "b:true"},
		"made alike":      {"json:/a|lower|trim|squash", `{"a":"  ÄNN  Lee "}`, []string{isJSON}, "s:änn lee"},
		"absent":          {"json:/b", `{"a":"x"}`, []string{isJSON}, ""},
		"null":            {"json:/a", `{"a":null}`, []string{isJSON}, ""},
		"empty":           {"json:/a", `{"a":""}`, []string{isJSON}, ""},
		"empty when trim": {"json:/a|trim", `{"a":"  "}`, []string{isJSON}, ""},
		"object":          {"json:/a", `{"a":{}}`, []string{isJSON}, ""},
		"array":           {"json:/a", `{"a":[]}`, []string{isJSON}, ""},
		"through a text":  {"json:/a/b", `{"a":"x"}`, []string{isJSON}, ""},
		"index -":         {"json:/a/-", `{"a":["x"]}`, []string{isJSON}, ""},
		"index 9":         {"json:/a/9", `{"a":["x"]}`, []string{isJSON}, ""},
		"twice":           {"json:/a", `{"a":"x","a":"y"}`, []string{isJSON}, "!"},
		"twice elsewhere": {"json:/a", `{"a":"x","b":{"c":1,"c":1}}`, []string{isJSON}, "!"},
		"twice, escaped":  {"json:/a", `{"a":"x","\u0061":"y"}`, []string{isJSON}, "!"},
		"another case":    {"json:/a/b", `{"a":{"b":"x","B":"y"}}`, []string{isJSON}, "!"},
		"case on the way": {"json:/a/0/b", `{"a":[{"b":"x"}],"A":[]}`, []string{isJSON}, "!"},
		"case in a list":  {"json:/a/0/b", `{"a":[{"b":"x","B":"y"}]}`, []string{isJSON}, "!"},
		"case elsewhere":  {"json:/a", `{"a":"x","c":{"b":1,"B":2}}`, []string{isJSON}, "s:x"},
		"trailing":        {"json:/a", `{"a":"x"}{}`, []string{isJSON}, "!"},
		"cut off":         {"json:/a", `{"a":"x"`, []string{isJSON}, "!"},
		"not JSON":        {"json:/a", `a=x`, []string{isJSON}, "!"},
		"nothing":         {"json:/a", ``, []string{isJSON}, "!"},
		"null document":   {"json:/a", `null`, []string{isJSON}, "!"},
		"bad UTF-8":       {"json:/a", "{\"a\":\"\xff\"}", []string{isJSON}, "!"},
		"deeper":          {"json:/a", `{"a":"x","b":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, []string{isJSON}, "!"},
		"very deep":       {"json:/a", strings.Repeat("[", 500_000), []string{isJSON}, "!"},
		"form for JSON":   {"json:/a", `a=x`, []string{isForm}, "!"},
		"JSON untyped":    {"json:/a", `{"a":"x"}`, nil, "!"},
		"too long":        {"json:/a", `{"a":"x"` + strings.Repeat(" ", 1<<20) + `}`, []string{isJSON}, "!"},
		"two types":       {"json:/a", `{"a":"x"}`, []string{isJSON, isJSON}, "!"},
		"zipped":          {"json:/a", zipped(t, 9, `{"a":"x"}`), []string{isJSON, "Content-Encoding: gzip"}, "s:x"},
		"a bomb":          {"json:/a", zipped(t, 9, `{"a":"x"`+strings.Repeat(" ", 8<<20)+`}`), []string{isJSON, "Content-Encoding: gzip"}, "!"},
		"not zipped":      {"json:/a", `{"a":"x"}`, []string{isJSON, "Content-Encoding: gzip"}, "!"},
		"unknown coding":  {"json:/a", `{"a":"x"}`, []string{isJSON, "Content-Encoding: rot13"}, "!"},
		"form":            {"form:a", `b=1&a=x+y`, []string{isForm}, "s:x y"},
		"form absent":     {"form:c", `a=x`, []string{isForm}, ""},
		"form empty":      {"form:a", `a=`, []string{isForm}, ""},
		"form twice":      {"form:a", `a=x&a=x`, []string{isForm}, ""},
		"form broken":     {"form:a", `a=%zz`, []string{isForm}, "!"},
		"JSON for form":   {"form:a", `{"a":"x"}`, []string{isJSON}, "!"},
		"multipart":       {"form:a", part("b", "", "1") + part("a", "", "x") + "--b--\r\n", []string{multi}, "s:x"},
		"a file":          {"form:a", part("a", `; filename="f"`, "x") + "--b--\r\n", []string{multi}, ""},
		"multipart twice": {"form:a", part("a", "", "x") + part("a", "", "y") + "--b--\r\n", []string{multi}, ""},
		"multipart coded": {"form:a", strings.Replace(part("a", "", "x=40"), "\r\n\r\n", "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", 1) + "--b--\r\n", []string{multi}, "!"},
		"multipart 8bit":  {"form:a", strings.Replace(part("a", "", "x"), "\r\n\r\n", "\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", 1) + "--b--\r\n", []string{multi}, "s:x"},
		"multipart cut":   {"form:a", part("a", "", "x"), []string{multi}, "!"},
		"squashed":        {"json:/a|squash", "{\"a\":\" x \\t\\r\\n\u00a0y\"}", []string{isJSON}, "s:x y"},
		"UTF-8 elsewhere": {"json:/a", "{\"a\":\"x\",\"\xff\":1}", []string{isJSON}, "!"},
		"more far behind": {"json:/a", zipped(t, 9, `{"a":"x"}`+strings.Repeat(" ", 1<<20)+`{}`), []string{isJSON, "Content-Encoding: gzip"}, "!"},
		"zipped, cut off": {"json:/a", zipped(t, 9, `{"a":"x"}`)[:25], []string{isJSON, "Content-Encoding: gzip"}, "!"},
		"JSON's charset":  {"json:/a", `{"a":"x"}`, []string{isJSON + "; charset=utf-16"}, "!"},
		"form's charset":  {"form:a", `a=%C3%A4`, []string{isForm + "; charset=ISO-8859-1"}, "!"},
		"form is UTF-8":   {"form:a", `a=%C3%A4`, []string{isForm + "; charset=UTF8"}, "s:ä"},
		"form is ASCII":   {"form:a", `a=x`, []string{isForm + "; charset=us-ascii"}, "s:x"},
		"form not UTF-8":  {"form:a", `a=%E4`, []string{isForm}, "!"},
		"name not UTF-8":  {"form:a", `a=x&%E4=1`, []string{isForm}, "!"},
		"form says UTF-8": {"form:a", `a=x&_charset_=utf-8`, []string{isForm}, "s:x"},
		"form says other": {"form:a", `a=x&_charset_=ISO-8859-1`, []string{isForm}, "!"},
		"form says both":  {"form:a", `a=x&_charset_=utf-8&_charset_=ISO-8859-1`, []string{isForm}, "!"},
		"form too long":   {"form:a", `a=x&b=` + strings.Repeat("y", 1<<20), []string{isForm}, "!"},
		"multipart 7bit":  {"form:a", part("a", "\r\nContent-Transfer-Encoding: 7bit", "x") + "--b--\r\n", []string{multi}, "s:x"},
		"multipart bytes": {"form:a", part("a", "\r\nContent-Transfer-Encoding: Binary", "x") + "--b--\r\n", []string{multi}, "s:x"},
		"a part's UTF-8":  {"form:a", part("a", "\r\nContent-Type: text/plain; charset=utf-8", "ä") + "--b--\r\n", []string{multi}, "s:ä"},
		"a part's Latin":  {"form:a", part("a", "\r\nContent-Type: text/plain; charset=ISO-8859-1", "ä") + "--b--\r\n", []string{multi}, "!"},
		"a part no name":  {"form:a", part("a", "", "x") + "--b\r\nContent-Disposition: form-data\r\n\r\ny\r\n--b--\r\n", []string{multi}, "!"},
		"a part broken":   {"form:a", part("a", "", "x") + "--b\r\nno field\r\n\r\ny\r\n--b--\r\n", []string{multi}, "!"},
		"many parts":      {"form:a", part("a", "", "x") + strings.Repeat(part("b", "", "y"), 1001) + "--b--\r\n", []string{multi}, "!"},
		"a line is --b":   {"form:a", part("a", "", "--bX") + "--b--\r\n", []string{multi}, "!"},
		"bare CR and --b": {"form:a", part("a", "", "x\r--b\ry") + "--b--\r\n", []string{multi}, "!"},
		"header":          {"header:x-order", "", []string{"X-Order: 7"}, "s:7"},
		"header twice":    {"header:X-Order", "", []string{"X-Order: 7", "X-Order: 7"}, ""},
		"header absent":   {"header:X-Order", "", nil, ""},
		"header empty":    {"header:X-Order", "", []string{"X-Order: "}, ""},
		"path":            {"path:id", "", nil, "s:7"},
		"path unknown":    {"path:no", "", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := content.Read([]content.Place{place(t, tc.place)}, source(tc.body, tc.fields...))
			var missing *content.MissingError
			var malformed *content.FormatError
			switch {
			case tc.want == "":
				if !errors.As(err, &missing) || missing.Place.String() != tc.place || missing.Why == "" {
					t.Errorf("%v, %v", got, err)
				}
			case tc.want == "!":
				if !errors.As(err, &malformed) || !strings.HasPrefix(err.Error(), "the body ") || len(err.Error()) < 15 {
					t.Errorf("%v, %v", got, err)
				}
			case err != nil || len(got) != 1 || got[0] != tc.want:
				t.Errorf("%v, %v; want %s", got, err, tc.want)
			}
		})
	}
}

func digest(t testing.TB, s content.Source) [32]byte {
	t.Helper()
	sum, err := content.Digest(s)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func multipartOf(boundary string, parts ...string) content.Source {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--" + boundary + "\r\n" + p + "\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return source(b.String(), "Content-Type: multipart/mixed; boundary="+boundary)
}

func TestDigest(t *testing.T) {
	const body = `{"a":"some text, some text, some text, and some more"}`
	gz := "Content-Encoding: gzip"
	one, two := "A: 1\r\nB: 2\r\n\r\nx", "A: 1\r\n\r\ny"
	large, zeros := strings.Repeat("a", 65<<20), make([]byte, 3<<20)
	fields := strings.Repeat("A: 1\r\n", 1000)
	for name, tc := range map[string]struct {
		a, b content.Source
		same bool
	}{
		"itself":                 {source(body, isJSON), source(body, isJSON), true},
		"zipped otherwise":       {source(zipped(t, 1, body), isJSON, gz), source(zipped(t, 9, body), isJSON, gz), true},
		"zipped or not":          {source(body, isJSON), source(zipped(t, 9, body), isJSON, gz), true},
		"type's case":            {source(body, isJSON), source(body, "Content-Type: Application/JSON"), true},
		"charset's case":         {source(body, "Content-Type: text/plain; charset=UTF-8"), source(body, `Content-Type: text/plain;charset="utf-8"`), true},
		"order of parameters":    {source(body, "Content-Type: a/b; c=1; d=2"), source(body, "Content-Type: a/b; d=2; c=1"), true},
		"boundary":               {multipartOf("b1", one, two), multipartOf("b2", one, two), true},
		"order of part fields":   {multipartOf("b1", one, two), multipartOf("b1", "B: 2\r\nA: 1\r\n\r\nx", two), true},
		"nothing":                {source(""), source(""), true},
		"one byte":               {source(body, isJSON), source(body+" ", isJSON), false},
		"another type":           {source(body, isJSON), source(body, "Content-Type: text/json"), false},
		"no type":                {source(body, isJSON), source(body), false},
		"another parameter":      {source(body, "Content-Type: a/b; c=1"), source(body, "Content-Type: a/b; c=2"), false},
		"broken types":           {source(body, "Content-Type: a/b; c"), source(body, "Content-Type: a/b; d"), false},
		"order of parts":         {multipartOf("b1", one, two), multipartOf("b1", two, one), false},
		"a part's field":         {multipartOf("b1", one), multipartOf("b1", "A: 1\r\nB: 3\r\n\r\nx"), false},
		"a part more":            {multipartOf("b1", one), multipartOf("b1", one, one), false},
		"a lie about the coding": {source(body, isJSON, gz), source(body, isJSON), false},
		"zipped, taken as such":  {source(zipped(t, 9, body), isJSON, gz), source(zipped(t, 9, body), isJSON), false},
		"multipart cut off":      {source("--b\r\n\r\nx", "Content-Type: multipart/mixed; boundary=b"), source("--b\r\n\r\ny", "Content-Type: multipart/mixed; boundary=b"), false},
		"a part's content":       {multipartOf("b1", "A: 1\r\n\r\nx"), multipartOf("b1", "A: 1\r\n\r\ny"), false},
		"the name of a field":    {multipartOf("b1", "A: 1\r\n\r\nx"), multipartOf("b1", "B: 1\r\n\r\nx"), false},
		"multipart without any":  {source("x", "Content-Type: multipart/mixed; boundary=b"), source("y", "Content-Type: multipart/mixed; boundary=b"), false},
		"multipart broken":       {source("--b\r\nno field\r\n", "Content-Type: multipart/mixed; boundary=b"), source("--b\r\nno\r\n", "Content-Type: multipart/mixed; boundary=b"), false},
		"boundary of no parts":   {source("--b\r\n\r\nx\r\n--b--", "Content-Type: a/b; boundary=b"), source("--c\r\n\r\nx\r\n--c--", "Content-Type: a/b; boundary=c"), false},
		"zipped, cut off":        {source(zipped(t, 9, body), gz), source(zipped(t, 9, body)[:len(zipped(t, 9, body))-4], gz), false},
		"a type like a coding":   {source(body, "Content-Type: a/b", "Content-Type: gzip"), source(body, "Content-Type: a/b", gz), false},
		"a bomb": {
			source(zipped(t, 1, large), gz), source(zipped(t, 1, large+"b"), gz), false,
		},
		// What costs too much to look into is compared as it is.
		"a bomb, zipped otherwise": {source(zipped(t, 1, large), gz), source(zipped(t, 2, large), gz), false},
		"a small bomb":             {source(packed(t, zeros, true), "Content-Encoding: zstd"), source(packed(t, zeros, false), "Content-Encoding: zstd"), false},
		"no bomb":                  {source(packed(t, zeros[:9999], true), "Content-Encoding: zstd"), source(packed(t, zeros[:9999], false), "Content-Encoding: zstd"), true},
		"many parts":               {multipartOf("b1", slices.Repeat([]string{two}, 1000)...), multipartOf("b2", slices.Repeat([]string{two}, 1000)...), true},
		"too many parts":           {multipartOf("b1", slices.Repeat([]string{two}, 1001)...), multipartOf("b2", slices.Repeat([]string{two}, 1001)...), false},
		"many fields":              {multipartOf("b1", slices.Repeat([]string{fields + "\r\nx"}, 10)...), multipartOf("b2", slices.Repeat([]string{fields + "\r\nx"}, 10)...), true},
		"too many fields":          {multipartOf("b1", slices.Repeat([]string{fields + "\r\nx"}, 11)...), multipartOf("b2", slices.Repeat([]string{fields + "\r\nx"}, 11)...), false},
	} {
		if got := digest(t, tc.a) == digest(t, tc.b); got != tc.same {
			t.Errorf("%s: the same: %v", name, got)
		}
	}
}

// No two lists of values share a digest, however their texts could be joined.
func TestDigestOfIsUnambiguous(t *testing.T) {
	places := []content.Place{place(t, "header:A"), place(t, "header:B")}
	sum := func(a, b string) [32]byte {
		s, err := content.DigestOf(places, source("", "A: "+a, "B: "+b))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if sum("a", "bs:c") == sum("as:b", "c") {
		t.Error("values run together")
	}
	text := rapid.StringMatching(`[ab:s]{1,4}`)
	rapid.Check(t, func(rt *rapid.T) {
		x := []string{text.Draw(rt, "a"), text.Draw(rt, "b")}
		y := []string{text.Draw(rt, "c"), text.Draw(rt, "d")}
		if got := sum(x[0], x[1]) == sum(y[0], y[1]); got != slices.Equal(x, y) {
			rt.Fatalf("%q and %q: the same: %v", x, y, got)
		}
	})
	if _, err := content.DigestOf(places, source("", "A: x")); err == nil {
		t.Error("one is missing")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("json:/a", `{"a":1e5}`, "application/json", "")
	f.Add("json:/a/0", `{"a":["x"]}`, "a/b+json", "gzip")
	f.Add("form:a|lower", "a=X", "application/x-www-form-urlencoded", "br")
	f.Add("form:a", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b", "zstd")
	f.Fuzz(func(t *testing.T, at, body, kind, coding string) {
		p, err := content.ParsePlace(at)
		if err != nil {
			return
		}
		s := source(body, "Content-Type: "+kind, "Content-Encoding: "+coding)
		values, err := content.Read([]content.Place{p}, s)
		if err == nil && (len(values) != 1 || len(values[0]) < 3) {
			t.Errorf("%q", values)
		}
		if a, b := digest(t, s), digest(t, s); a != b {
			t.Error("a request differs from itself")
		}
	})
}
