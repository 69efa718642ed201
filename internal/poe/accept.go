package core

import (
	"net/http"
	"strconv"
	"strings"
)

// A liking is how much a client wants a media type (RFC 9110, section 12.5.1).
type liking struct {
	quality float64 // 0: not at all
	exact   int     // how closely the range that says so names it
	at      int     // where that range stands in the list
}

// The ways to name a media type; the closest one decides.
const (
	anyType = iota + 1
	anySubtype
	itsName
)

// preferred returns which of the offered media types the client would rather have; "": it has not said, or takes none of them. Of two that it likes as
// much, one that it names counts more than one of a range, then the one that it names first, then the one that is offered first.
func preferred(h http.Header, offers ...string) string {
	var best string
	var most liking
	for _, offer := range offers {
		if l := likes(h, offer); l.quality > 0 && l.above(&most) {
			best, most = offer, l
		}
	}
	return best
}

func (l *liking) above(other *liking) bool {
	switch {
	case l.quality != other.quality:
		return l.quality > other.quality
	case l.exact != other.exact:
		return l.exact > other.exact
	default:
		return l.at < other.at
	}
}

// likes finds how much the client likes a media type. Parameters but the weight are not compared: what we offer has none that anybody asks for.
func likes(h http.Header, offer string) (l liking) {
	at := 0
	for _, line := range h["Accept"] {
		for member := range unquoted(line, ',') {
			name, params, _ := strings.Cut(member, ";")
			one := liking{quality: quality(params), exact: covers(strings.TrimSpace(name), offer), at: at}
			if one.exact > l.exact || one.exact == l.exact && one.exact > 0 && one.quality > l.quality {
				l = one
			}
			at++
		}
	}
	return l
}

// covers tells how closely a range names a media type; 0: it does not.
func covers(span, offer string) int {
	kind, _, _ := strings.Cut(offer, "/")
	switch {
	case strings.EqualFold(span, offer):
		return itsName
	case span == "*/*", span == "*": // the latter as some clients write it
		return anyType
	case len(span) == len(kind)+2 && strings.EqualFold(span[:len(kind)], kind) && span[len(kind):] == "/*":
		return anySubtype
	default:
		return 0
	}
}

// quality is the weight among the parameters of a range (RFC 9110, section 12.4.2): 1 where there is none, 0 for what is no number.
func quality(params string) float64 {
	for p := range unquoted(params, ';') {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q > 0) { // which NaN is not either
			return 0
		}
		return min(q, 1)
	}
	return 1
}
