package content_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/content"
)

func readOne(t *testing.T, at, body string, fields ...string) (string, error) {
	t.Helper()
	got, err := content.Read([]content.Place{place(t, at)}, source(body, fields...))
	if err != nil {
		return "", err
	}
	return got[0], nil
}

// A form with a Content-Encoding is one form to who decodes it and another to who does not, as most frameworks.
func TestFormWithContentEncoding(t *testing.T) {
	const decoy = "email=decoy"
	stored := "\x01" + string([]byte{byte(len(decoy)), 0, ^byte(len(decoy)), 0xff}) + decoy + "&email=victim&x="
	if raw, _ := url.ParseQuery(stored); raw.Get("email") != "victim" {
		t.Fatalf("the application would read %q", raw.Get("email"))
	}
	if got, err := readOne(t, "form:email", stored, isForm, "Content-Encoding: deflate"); err == nil {
		t.Errorf("deflate: the key is %q, the application that does not decode has victim", got)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Extra = []byte("&email=victim&x=")
	_, _ = io.WriteString(w, decoy)
	_ = w.Close()
	if raw, _ := url.ParseQuery(b.String()); raw.Get("email") != "victim" {
		t.Fatalf("the application would read %q", raw.Get("email"))
	}
	if got, err := readOne(t, "form:email", b.String(), isForm, "Content-Encoding: gzip"); err == nil {
		t.Errorf("gzip: the key is %q, the application that does not decode has victim", got)
	}
	b.Reset()
	w = gzip.NewWriter(&b)
	w.Extra = []byte("\r\n--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nvictim\r\n--b--\r\n")
	_, _ = io.WriteString(w, "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\ndecoy\r\n--b--\r\n")
	_ = w.Close()
	if got, err := readOne(t, "form:email", b.String(), "Content-Type: multipart/form-data; boundary=b", "Content-Encoding: gzip"); err == nil {
		raw, rawErr := readOne(t, "form:email", b.String(), "Content-Type: multipart/form-data; boundary=b")
		t.Errorf("multipart, gzip: the key is %q; undecoded it is %q, %v", got, raw, rawErr)
	}
}

// Boundary*0 beats boundary here, and is unknown to other parsers.
func TestBoundaryInTwoSpellings(t *testing.T) {
	part := func(boundary, value string) string {
		return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\n" + value + "\r\n"
	}
	body := part("a", "victim") + "--a--\r\n" + part("b", "decoy") + "--b--\r\n"
	for _, second := range []string{"boundary*0=b", "boundary*=utf-8''b"} {
		if got, err := readOne(t, "form:email", body, "Content-Type: multipart/form-data; boundary=a; "+second); err == nil {
			t.Errorf("%s: the key is %q; who goes by boundary=a has victim", second, got)
		}
	}
}

// A file's name that RFC 7578 forbids (section 4.2) hides a member from the key that others read.
func TestMemberHiddenByFilenameStar(t *testing.T) {
	body := "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\ndecoy\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"email\"; filename*=utf-8''x\r\n\r\nvictim\r\n--b--\r\n"
	if got, err := readOne(t, "form:email", body, "Content-Type: multipart/form-data; boundary=b"); err == nil {
		t.Errorf("the key is %q; who does not know filename* has email twice, and many take the last", got)
	}
}

// A charset that is not looked at.
func TestCharsets(t *testing.T) {
	if got, err := readOne(t, "form:name", "name=m%E4x", isForm+"; charset=ISO-8859-1"); err == nil {
		same, _ := readOne(t, "form:name", "name=m%C3%A4x", isForm+"; charset=UTF-8")
		t.Errorf("one name by the charset, two keys: %q and %q", got, same)
	}
	if got, err := readOne(t, "json:/email", `{"email":"a+AEA-b.c"}`, isJSON+"; charset=utf-7"); err == nil {
		same, _ := readOne(t, "json:/email", `{"email":"a@b.c"}`, isJSON)
		t.Errorf("one address by the charset, two keys: %q and %q", got, same)
	}
	if got, err := readOne(t, "form:name", "--b\r\nContent-Disposition: form-data; name=\"name\"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\r\nm\xe4x\r\n--b--\r\n", "Content-Type: multipart/form-data; boundary=b"); err == nil {
		t.Errorf("a part with a charset: %q", got)
	}
}

// What a double cannot hold is another number to most applications.
func TestNumbersBeyondADouble(t *testing.T) {
	seven, _ := readOne(t, "json:/order", `{"order":7}`, isJSON)
	for _, spelled := range []string{"7.00000000000000000001", "6.99999999999999999999", "70000000000000000000001e-22"} {
		got, err := readOne(t, "json:/order", `{"order":`+spelled+`}`, isJSON)
		if err == nil && got != seven {
			t.Errorf("%s is the number 7 to JavaScript, Python and PHP, and another key: %q", spelled, got)
		}
	}
	zero, _ := readOne(t, "json:/order", `{"order":0}`, isJSON)
	if got, err := readOne(t, "json:/order", `{"order":1e-400}`, isJSON); err == nil && got != zero {
		t.Errorf("1e-400 is 0 there: %q", got)
	}
}

// Surrogates that stand alone.
func TestLoneSurrogates(t *testing.T) {
	a, err := readOne(t, "json:/a", `{"a":"x\ud800"}`, isJSON)
	b, err2 := readOne(t, "json:/a", `{"a":"x\udfff"}`, isJSON)
	if err == nil && err2 == nil && a == b {
		t.Errorf("two texts, one key: %q", a)
	}
}

// Many parsers, PHP's among them, end a member at a line that begins with the boundary, whatever ends the line before it or follows on it.
func TestMemberThatOthersReadShorter(t *testing.T) {
	for name, after := range map[string]string{"bare LF": "\n--b\n\nx", "more behind it": "\r\n--bX\r\nx"} {
		body := "--b\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nvictim" + after + "\r\n--b--\r\n"
		if got, err := readOne(t, "form:email", body, "Content-Type: multipart/form-data; boundary=b"); err == nil {
			t.Errorf("%s: the key is %q, and victim to others", name, got)
		}
	}
}

// Codings without a beginning of their own may leave a text that is JSON both ways.
func TestCodedJSON(t *testing.T) {
	for _, coding := range []string{"br", "deflate", "gzip, br"} {
		if got, err := readOne(t, "json:/a", `{"a":1}`, isJSON, "Content-Encoding: "+coding); err == nil || !strings.Contains(err.Error(), "other than gzip and zstd") {
			t.Errorf("%s: %q, %v", coding, got, err)
		}
	}
	for coding, body := range map[string]string{"gzip": zipped(t, 9, `{"a":1}`), "zstd": packed(t, []byte(`{"a":1}`), true)} {
		if got, err := readOne(t, "json:/a", body, isJSON, "Content-Encoding: "+coding); err != nil || got != "n:1e0" {
			t.Errorf("%s: %q, %v", coding, got, err)
		}
	}
}
