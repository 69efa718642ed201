package tokens

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// payload is the claims as JSON: members in the order in which they are minted, in any order when read.
type payload struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	ID        string `json:"jti"`
	Issued    int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	Method    string `json:"htm"`
	Target    string `json:"htu"`
	Principal string `json:"sub,omitzero"`
	Digest    string `json:"bdg,omitzero"`
	Callback  string `json:"cb,omitzero"`

	seen uint // bits of the members that were read
}

// The bits of payload.seen. A claim that is absent and one that is empty are not the same.
const (
	seenIssuer uint = 1 << iota
	seenAudience
	seenID
	seenIssued
	seenNotBefore
	seenExpires
	seenMethod
	seenTarget
	required      = 1<<iota - 1
	seenPrincipal = 1 << (iota - 1)
	seenDigest    = 1 << (iota - 1)
	seenCallback  = 1 << (iota - 1)
)

// header is the JOSE header as JSON.
type header struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// members reads one JSON object and hands each of its members, whose values must be of no depth, to take. Names are
// unique and all text is UTF-8, because the decoder refuses anything else.
func members(dec *jsontext.Decoder, take func(name string, value jsontext.Token) error, otherwise reason) error {
	open, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if open.Kind() != '{' {
		return otherwise
	}
	for {
		t, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if t.Kind() == '}' {
			return nil
		}
		name := t.String()
		value, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if err := take(name, value); err != nil {
			return err
		}
	}
}

// reasonOf names what was wrong with JSON: what a member's reader said, a name twice, or otherwise.
func reasonOf(err error, otherwise reason) reason {
	var r reason
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, jsontext.ErrDuplicateName):
		return duplicate
	}
	return otherwise
}

// UnmarshalJSONFrom reads a header, strictly.
func (h *header) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return members(dec, func(name string, value jsontext.Token) error {
		var dst *string
		switch name {
		case "alg":
			dst = &h.Algorithm
		case "kid":
			dst = &h.KeyID
		case "typ":
			dst = &h.Type
		case "crit":
			return critical
		default:
			return unknownField
		}
		return text(dst, value, badHeader)
	}, badHeader)
}

// UnmarshalJSONFrom reads claims, strictly.
func (p *payload) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return members(dec, p.take, badClaims)
}

func (p *payload) take(name string, value jsontext.Token) error {
	switch name {
	case "iss":
		p.seen |= seenIssuer
		return text(&p.Issuer, value, badIssuer)
	case "aud":
		p.seen |= seenAudience
		return text(&p.Audience, value, badAudience)
	case "jti":
		p.seen |= seenID
		return text(&p.ID, value, badID)
	case "iat":
		p.seen |= seenIssued
		return seconds(&p.Issued, value)
	case "nbf":
		p.seen |= seenNotBefore
		return seconds(&p.NotBefore, value)
	case "exp":
		p.seen |= seenExpires
		return seconds(&p.Expires, value)
	case "htm":
		p.seen |= seenMethod
		return text(&p.Method, value, badMethod)
	case "htu":
		p.seen |= seenTarget
		return text(&p.Target, value, badTarget)
	case "sub":
		p.seen |= seenPrincipal
		return text(&p.Principal, value, badPrincipal)
	case "bdg":
		p.seen |= seenDigest
		return text(&p.Digest, value, badDigest)
	case "cb":
		p.seen |= seenCallback
		return text(&p.Callback, value, badCallback)
	}
	return unknownClaim
}

func text(dst *string, value jsontext.Token, otherwise reason) error {
	if value.Kind() != '"' {
		return otherwise
	}
	*dst = value.String()
	return nil
}

// seconds reads a NumericDate (RFC 7519, section 2) of digits only: no sign, no fraction, no exponent.
func seconds(dst *int64, value jsontext.Token) error {
	if value.Kind() != '0' {
		return badTime
	}
	digits := value.String()
	if len(digits) > len("253402300799") {
		return badTime
	}
	for _, d := range []byte(digits) {
		if d < '0' || d > '9' {
			return badTime
		}
		*dst = *dst*10 + int64(d-'0')
	}
	return nil
}

// encode returns the JSON of c for one audience. It fails where c holds text that is not UTF-8.
func (c Claims) encode(audience string) ([]byte, error) {
	return json.Marshal(payload{
		Issuer: Issuer, Audience: audience, ID: c.ID.String(),
		Issued: c.Issued.Unix(), NotBefore: c.NotBefore.Unix(), Expires: c.Expires.Unix(),
		Method: c.Method, Target: c.Target, Callback: c.Callback,
		Principal: encodeHash(c.Principal), Digest: encodeHash(c.Digest),
	})
}

// decodeClaims reads what encode wrote. The claims are as they were encoded; whether they make sense, check tells.
func decodeClaims(b []byte, audience string) (Claims, error) {
	var p payload
	if p.plain(b, audience) {
		return p.claims(audience)
	}
	return decodeOther(bytes.Clone(b), audience)
}

// decodeOther reads any spelling. It is apart, so that what it reads into is on the heap only where it is needed.
func decodeOther(b []byte, audience string) (Claims, error) {
	var p payload
	if err := json.Unmarshal(b, &p); err != nil {
		return Claims{}, reasonOf(err, badClaims)
	}
	return p.claims(audience)
}

// claims checks that all of them are there and spelled as they must be.
func (p *payload) claims(audience string) (Claims, error) {
	switch {
	case p.seen&required != required:
		return Claims{}, missing
	case p.Issuer != Issuer:
		return Claims{}, badIssuer
	case p.Audience != audience:
		return Claims{}, badAudience
	case p.seen&seenCallback != 0 && p.Callback == "":
		return Claims{}, badCallback
	}
	c := Claims{
		Issued: time.Unix(p.Issued, 0).UTC(), NotBefore: time.Unix(p.NotBefore, 0).UTC(), Expires: time.Unix(p.Expires, 0).UTC(),
		Method: p.Method, Target: p.Target, Callback: p.Callback,
	}
	var err error
	// uuid.Parse takes other spellings too: capitals, braces, no hyphens. An id has one.
	if c.ID, err = uuid.Parse(p.ID); err != nil || len(p.ID) != 36 || strings.ToLower(p.ID) != p.ID {
		return Claims{}, badID
	}
	if p.seen&seenPrincipal != 0 && !decodeHash(&c.Principal, p.Principal) {
		return Claims{}, badPrincipal
	}
	if p.seen&seenDigest != 0 && !decodeHash(&c.Digest, p.Digest) {
		return Claims{}, badDigest
	}
	return c, nil
}

// encodeHash writes 32 bytes as base64url, and the zero value, which stands for none, as nothing.
func encodeHash(h [32]byte) string {
	if h == [32]byte{} {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// decodeHash reads 32 bytes that are not all zero.
func decodeHash(dst *[32]byte, s string) bool {
	b, ok := decodePart(s)
	if !ok || len(b) != len(dst) {
		return false
	}
	*dst = [32]byte(b)
	return *dst != [32]byte{}
}

// decodePart reads base64url without padding, in the one spelling that an encoder writes. Go's decoder skips
// line ends, even in its strict mode.
func decodePart(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := strictBase64.DecodeString(s)
	return b, err == nil
}

var strictBase64 = base64.RawURLEncoding.Strict()
