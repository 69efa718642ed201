package h1_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever requests follow each other on a connection, and in whatever pieces they come, all of them are answered as net/http answers them.
func TestConversationsAreThoseOfNetHTTP(t *testing.T) {
	t.Parallel()
	pair := serveTwins(t, http.HandlerFunc(mirror))
	body := func(t *rapid.T) string {
		return strings.Repeat("b", rapid.SampledFrom([]int{0, 1, 100, 3000, 5000, 15000, 17000}).Draw(t, "size"))
	}
	request := rapid.Custom(func(t *rapid.T) string {
		fields := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
			"A: b\r\n", "a:c\r\n", "Accept: */*\r\n", "Connection: keep-alive\r\n", "Content-Type: application/json\r\n", "X-Empty:\r\n", "X: " + strings.Repeat("x", 2000) + "\r\n", "TE: trailers\r\n", "Y: \xe4\r\n",
		}), 0, 5).Draw(t, "fields"), "")
		target := rapid.SampledFrom([]string{"/", "/orders?poe=a.b-c_d", "/a%20b?c", "/a/../b?x=%zz", "/?"}).Draw(t, "target")
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			return fmt.Sprintf("GET %s HTTP/1.1\r\n%s%s\r\n", target, host, fields)
		case 1:
			b := body(t)
			return fmt.Sprintf("PUT %s HTTP/1.1\r\n%s%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", target, host, fields, max(1, len(b)), b+strings.Repeat("c", 1-min(1, len(b))))
		case 2:
			return fmt.Sprintf("HEAD %s HTTP/1.1\r\n%s%s\r\n", target, fields, host)
		default:
			b := body(t)
			return fmt.Sprintf("POST %s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", target, host, fields, len(b), b)
		}
	})
	rapid.Check(t, func(r *rapid.T) {
		all := strings.Join(rapid.SliceOfN(request, 1, 6).Draw(r, "requests"), "")
		var pieces []string
		for range rapid.IntRange(0, 3).Draw(r, "cuts") {
			at := rapid.IntRange(0, len(all)-1).Draw(r, "cut")
			pieces, all = append(pieces, all[:at]), all[at:]
		}
		ours, theirs := say(t, pair.ours, append(pieces, all)...), say(t, pair.theirs, append(pieces, all)...)
		if ours != theirs {
			r.Fatalf("answered with\n%s\n and by net/http with\n%s", shown(ours), shown(theirs))
		}
	})
}
