// Package accept picks the form of an answer by what its client prefers.
package accept

import (
	"net/http"
	"strings"

	"github.com/elnormous/contenttype"
)

// Offers are the media types that an answer can have.
type Offers []contenttype.MediaType

// Offer lists media types, the one that is preferred here first.
func Offer(types ...string) Offers {
	all := make(Offers, len(types))
	for i, t := range types {
		all[i] = contenttype.NewMediaType(t)
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
	best, _, err := contenttype.GetAcceptableMediaTypeFromHeader(ranges, o)
	if err != nil {
		return ""
	}
	return best.MIME()
}
