package content

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/postonce/poe/internal/replay"
)

// maxDecoded is how much is decoded to compare two bodies, in bytes; a longer one is compared as it came. So is one that becomes more than maxGrowth times
// as long, beyond some: so much no coding makes of anything but a bomb.
const (
	maxDecoded = 64 << 20
	maxGrowth  = 2000
	someGrowth = 1 << 20
)

// mostDecoded is what maxDecoded is for a body of size bytes.
func mostDecoded(size int64) int64 { return min(maxDecoded, max(someGrowth, maxGrowth*size)) }

// maxParts is how many parts a multipart body may have to be compared part by part, and to be looked into. One that has more, or ten times as many fields,
// is compared as it is: each costs as much time as kilobytes of content, and takes a few bytes that a coding makes nothing of.
const maxParts = 1000

// How a body was compared. It is part of the digest, so that bytes which were compared in one way are never taken for others that were
// compared in another.
const (
	asContent = "content" // what it is without codings
	asParts   = "parts"   // multipart, without its boundary
	asBytes   = "bytes"   // as it came
)

// Digest returns SHA-256 over what a body is: its media type and its decoded content. Two bodies that differ in their codings, in the spelling
// of their type, or in the boundary between their parts, are the same. It fails only where the body cannot be read.
func Digest(src Source) ([32]byte, error) {
	r := reader{src: src}
	defer r.look()()
	kind, params := r.mediaType()
	if strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" {
		if sum, ok := r.partsDigest(params["boundary"]); ok {
			delete(params, "boundary")
			return seal(asParts, typeText(kind, params, ""), sum), nil
		}
	}
	t := typeText(kind, params, strings.Join(src.Header["Content-Type"], "\n"))
	if !replay.Coded(src.Header) {
		return seal(asContent, t, src.Digest), nil
	}
	if sum, ok := r.decodedDigest(); ok {
		return seal(asContent, t, sum), nil
	}
	return seal(asBytes, t+"\n"+strings.Join(src.Header["Content-Encoding"], "\n"), src.Digest), nil
}

// DigestOf is Digest for chosen members alone. Its errors are those of Read.
func DigestOf(places []Place, src Source) ([32]byte, error) {
	values, err := Read(places, src)
	if err != nil {
		return [32]byte{}, err
	}
	h := sha256.New()
	for _, v := range values {
		part(h, []byte(v))
	}
	return seal("members", "", [32]byte(h.Sum(nil))), nil
}

// typeText writes a media type in one way; raw where it cannot be read.
func typeText(kind string, params map[string]string, raw string) string {
	if kind == "" {
		return raw
	}
	if charset, ok := params["charset"]; ok {
		params["charset"] = strings.ToLower(charset)
	}
	return mime.FormatMediaType(kind, params)
}

func seal(how, mediaType string, sum [32]byte) [32]byte {
	h := sha256.New()
	part(h, []byte(how))
	part(h, []byte(mediaType))
	part(h, sum[:])
	return [32]byte(h.Sum(nil))
}

// part adds b with its length before it, so that no two lists of parts run together.
func part(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}

// decoded opens the body without its codings.
func (r *reader) decoded() (io.Reader, func(), bool) {
	d, done, ok := replay.Decoded(r.src.Header, r.src.Body())
	if !ok {
		return nil, nil, false
	}
	return io.LimitReader(d, mostDecoded(r.src.Size)+1), done, true
}

func (r *reader) decodedDigest() (sum [32]byte, ok bool) {
	d, done, ok := r.decoded()
	if !ok {
		return sum, false
	}
	defer done()
	h := sha256.New()
	n, err := io.Copy(h, d)
	return [32]byte(h.Sum(nil)), err == nil && n <= mostDecoded(r.src.Size)
}

// partsDigest hashes the parts in their order: each by its fields and the digest of its content.
func (r *reader) partsDigest(boundary string) (sum [32]byte, ok bool) {
	d, done, ok := r.decoded()
	if !ok {
		return sum, false
	}
	defer done()
	in := multipart.NewReader(d, boundary)
	h := sha256.New()
	for n, lines := 0, 0; ; n++ {
		p, err := in.NextRawPart()
		if errors.Is(err, io.EOF) {
			return [32]byte(h.Sum(nil)), n > 0
		}
		if err != nil {
			return sum, false
		}
		for _, values := range p.Header {
			lines += len(values)
		}
		if n == maxParts || lines > 10*maxParts {
			return sum, false
		}
		partFields(h, p.Header)
		content := sha256.New()
		if _, err := io.Copy(content, p); err != nil {
			return sum, false
		}
		part(h, content.Sum(nil))
	}
}

func partFields(h hash.Hash, fields textproto.MIMEHeader) {
	names := slices.Sorted(maps.Keys(fields))
	part(h, []byte(strconv.Itoa(len(names))))
	for _, name := range names {
		part(h, []byte(name))
		part(h, []byte(strings.Join(fields[name], "\n")))
	}
}
