package accept_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/accept"
)

func TestPreferred(t *testing.T) {
	const js, plain, page = "application/json", "text/plain", "text/html"
	offers := accept.Offer(js, plain, page)
	for ranges, want := range map[string]string{
		"": "", "image/png": "", "*/*": js, page: page, "text/*": plain, "image/png, */*": js,
		"application/json, text/html": js, "text/html, application/json": page, "text/html, application/json;q=0.9": page,
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8": page,
		// What has a weight of 0 is not wanted, and the closest range decides.
		"text/html;q=0": "", "*/*, application/json;q=0": plain, "application/*, text/html;q=0.5": js,
		"text/*;q=0.9, text/html;q=0.1, application/json;q=0.5": plain, "application/json;q=0, text/*;q=0, text/html;q=0.1": page,
		// Neither types nor the weight have a case, blanks may be tabs, and a list may be on several lines (section 5.3).
		"text/html;Q=0.1, application/json": js, "Text/HTML": page, "text/html\t;\tq=0.1\t,\tapplication/json": js, "application/json;q=0.5\ntext/html": page,
		`image/png;x="a, text/html", application/json`: js,
		// Elements of a list may be empty, and so may lines (section 5.6.1.2). All is in the charset that it is sent in.
		"text/html,": page, "text/html, ,\t, */*;q=0.1": page, "\ntext/html": page, "text/html\n": page, `image/png;x=",,", text/html`: page,
		"text/html;charset=utf-8": page, `text/plain; Charset="UTF-8", text/html;q=0.5`: plain, "text/html;charset=utf-16, application/json;q=0.5": js,
		"application/json; charset=utf-8, text/html;q=0.5": js,
		// What is none is no wish.
		"text/html;q=NaN": "", "text/html;q=": "", "text": "", "text/html;q=2": "", ",": "",
	} {
		r := &http.Request{Header: http.Header{}}
		if ranges != "" {
			r.Header["Accept"] = strings.Split(ranges, "\n")
		}
		if got := offers.Preferred(r); got != want {
			t.Errorf("%q: %q, want %q", ranges, got, want)
		}
	}
}
