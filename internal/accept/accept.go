// Package accept picks the form of an answer by what its client prefers.
package accept

import (
	"net/http"
	"strings"

	"github.com/elnormous/contenttype"
)

// Offers are the media types that an answer can have.
type Offers []contenttype.MediaType

// Offer lists media types, the one that is preferred here first. All are in UTF-8, and are what a range means that says so, too.
func Offer(types ...string) Offers {
	var all Offers
	for _, t := range types {
		all = append(all, contenttype.NewMediaType(t), contenttype.NewMediaType(t+";charset=utf-8"))
	}
	return all
}

// Preferred returns the one that the client would rather have (RFC 9110, section 12.5.1); "": it has not said, takes none of them, or cannot be understood.
func (o Offers) Preferred(r *http.Request) string {
	ranges := strings.Join(r.Header["Accept"], ",")
	switch ranges {
	case "":
		return ""
	case "*/*":
		return o[0].MIME()
	}
	best, _, err := contenttype.GetAcceptableMediaTypeFromHeader(strings.ToLower(filled(ranges)), o) // a charset has no case
	if err != nil {
		return ""
	}
	return best.MIME()
}

// filled is a list without its empty elements, which mean nothing (RFC 9110, section 5.6.1.2).
func filled(list string) string {
	var b strings.Builder
	for element := range strings.SplitSeq(list, ",") { // one that is quoted is in no parameter that is looked at
		if strings.Trim(element, " \t") == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(element)
	}
	return b.String()
}
