package replay

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

func cutTrailerPrefix(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, http.TrailerPrefix)
	return http.CanonicalHeaderKey(rest), ok
}

func validTrailer(name string) bool {
	return httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name)
}

// declareTrailer announces the names of trailer in h. Only what is announced is sure to be sent: without it net/http gives a
// short answer a Content-Length, and so no room for trailers.
func declareTrailer(h, trailer http.Header) {
	for _, name := range slices.Sorted(maps.Keys(trailer)) {
		if validTrailer(name) {
			h.Add("Trailer", name)
		}
	}
}

// setTrailer sets the values after the content. Where the head had a field of the same name, net/http would send that one again as
// a trailer, so it goes; the prefix also reaches those that nobody declared.
func setTrailer(h, trailer http.Header) {
	for name, values := range trailer {
		if validTrailer(name) {
			h.Del(name)
			h[http.TrailerPrefix+name] = slices.Clone(values)
		}
	}
}
