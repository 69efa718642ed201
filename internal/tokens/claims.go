package tokens

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	// MaxLength is the longest token, in octets. A longer one is refused unread, and never minted.
	MaxLength = 4096
	// Skew is how far apart clocks are allowed to be.
	Skew = 5 * time.Second
	// Issuer is the iss of every token.
	Issuer = "poe"
	// Type is the typ of every token's header, and keeps other JWTs under the same key from passing for one.
	Type = "poe+jwt"
)

// lastSecond is the end of the year 9999: what RFC 3339, and so every log and page, can still write.
const lastSecond = 253402300799

// Claims is what a token says. It is comparable; two tokens with equal claims mean the same.
type Claims struct {
	ID        uuid.UUID // jti: the action, a UUIDv7
	Issued    time.Time // iat
	NotBefore time.Time // nbf; zero at minting: Issued
	Expires   time.Time // exp
	Method    string    // htm: POST, PUT, PATCH or DELETE
	Target    string    // htu: path and query, octet for octet, beginning with one "/"
	Principal [32]byte  // sub: who may use it, hashed; zero: anybody, the claim is absent
	Digest    [32]byte  // bdg: SHA-256 of the one body it may be used with; zero: any body, the claim is absent
	Callback  string    // cb: where the outcome is sent; empty: nowhere, the claim is absent
}

// wholeSeconds returns c as a token carries it: times without their fractions, NotBefore never zero.
func (c Claims) wholeSeconds() Claims {
	if c.NotBefore.IsZero() {
		c.NotBefore = c.Issued
	}
	for _, t := range []*time.Time{&c.Issued, &c.NotBefore, &c.Expires} {
		*t = time.Unix(t.Unix(), 0)
	}
	return c
}

// check tells which of the claims no token may carry, or "". It is the same for what is minted and for what is verified.
func (c Claims) check(maxLifetime time.Duration) reason {
	switch {
	case c.ID.Version() != 7 || c.ID.Variant() != uuid.RFC4122:
		return badID
	case !allowedMethod(c.Method):
		return badMethod
	case !allowedTarget(c.Target):
		return badTarget
	case !plain(c.Callback):
		return badCallback
	}
	for _, t := range [...]time.Time{c.Issued, c.NotBefore, c.Expires} {
		if s := t.Unix(); s < 0 || s > lastSecond {
			return badTime
		}
	}
	if !c.Expires.After(c.Issued) || !c.Expires.After(c.NotBefore) || c.Expires.Sub(c.Issued) > maxLifetime {
		return badLifetime
	}
	return ""
}

// early tells whether c is from the future at now, and by which claim.
func (c Claims) early(now time.Time) reason {
	switch limit := now.Add(Skew); {
	case c.NotBefore.After(limit):
		return tooEarly
	case c.Issued.After(limit):
		return fromFuture
	}
	return ""
}

func allowedMethod(m string) bool {
	switch m {
	case "POST", "PUT", "PATCH", "DELETE":
		return true
	}
	return false
}

// allowedTarget tells whether t is a path with or without a query on this very origin. A second slash begins another
// host, and browsers take a backslash for a slash; a fragment or a space is no part of a request's target.
func allowedTarget(t string) bool {
	if t == "" || t[0] != '/' || len(t) > 1 && (t[1] == '/' || t[1] == '\\') {
		return false
	}
	return plain(t) && !strings.ContainsAny(t, " #")
}

// plain tells whether s is valid UTF-8 without control characters.
func plain(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }
