package replay

import (
	"bytes"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/postonce/poe/internal/store"
)

// A stored head is a sequence of fields in Protocol Buffers' wire format: a name, then its values in order, then the
// next name. Nothing stored is the empty head.
const (
	hName    protowire.Number = 1 // of a field
	hValue   protowire.Number = 2 // of the name before it
	hTrailer protowire.Number = 3 // name of a trailer field
)

// EncodeHead returns what is kept of an answer's fields, for store.Blob.Head: what Storable leaves of h and of trailer, and of
// that only what is, on one line, a valid field (RFC 9110 section 5), so that nothing read back can split a message.
// Equal fields have equal encodings; the values of a name keep their order.
func EncodeHead(h, trailer http.Header) []byte {
	var room [512]byte // most fit, and are then allocated once, at their size
	b := appendFields(room[:0], hName, h, func(name string) bool { return httpguts.ValidHeaderFieldName(name) && !ofOneClient(name) })
	b = appendFields(b, hTrailer, trailer, func(name string) bool { return validTrailer(name) && !ofOneClient(name) })
	return bytes.Clone(b)
}

// EncodeRequestHead is EncodeHead for a request that is sent later: all of its fields are kept but those of the connection that it came by.
func EncodeRequestHead(h, trailer http.Header) []byte {
	var room [512]byte
	b := appendFields(room[:0], hName, h, httpguts.ValidHeaderFieldName)
	return bytes.Clone(appendFields(b, hTrailer, trailer, validTrailer))
}

// appendFields appends what may be stored of h, as far as valid allows the names.
func appendFields(b []byte, kind protowire.Number, h http.Header, valid func(name string) bool) []byte {
	var few [16]string
	names := few[:0]
	for name := range EndToEnd(h) {
		if valid(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		begun := false
		for _, v := range h[name] {
			if !httpguts.ValidHeaderFieldValue(v) {
				if v = onOneLine(v); !httpguts.ValidHeaderFieldValue(v) {
					continue
				}
			}
			if !begun {
				b = protowire.AppendString(protowire.AppendTag(b, kind, protowire.BytesType), name)
				begun = true
			}
			b = protowire.AppendString(protowire.AppendTag(b, hValue, protowire.BytesType), v)
		}
	}
	return b
}

// onOneLine is what net/http sends of a value that has line breaks, such as one at its end: whoever asks later gets the field that the first client got.
func onOneLine(v string) string {
	return textproto.TrimString(strings.NewReplacer("\n", " ", "\r", " ").Replace(v))
}

// DecodeHead reads what EncodeHead wrote. The maps are never nil and belong to the caller. Anything else, a field
// that EncodeHead would not have written included, is an error that wraps store.ErrCorrupt; DecodeHead never panics.
func DecodeHead(b []byte) (h, trailer http.Header, err error) {
	h, trailer = http.Header{}, http.Header{}
	into, name := h, ""
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 || kind != protowire.BytesType {
			return nil, nil, fmt.Errorf("%w: head: bad tag", store.ErrCorrupt)
		}
		v, length := protowire.ConsumeString(b[size:])
		if length < 0 {
			return nil, nil, fmt.Errorf("%w: head: %w", store.ErrCorrupt, protowire.ParseError(length))
		}
		b = b[size+length:]
		switch {
		case n == hName && httpguts.ValidHeaderFieldName(v):
			into, name = h, v
		case n == hTrailer && httpguts.ValidHeaderFieldName(v) && httpguts.ValidTrailerHeader(v):
			into, name = trailer, v
		case n == hValue && name != "" && httpguts.ValidHeaderFieldValue(v):
			into[name] = append(into[name], v)
		default:
			return nil, nil, fmt.Errorf("%w: head: field %d is not valid", store.ErrCorrupt, n)
		}
	}
	return h, trailer, nil
}
