package core

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/bearer"
)

// A principal says how a route tells who is asking.
type principal struct {
	kind string // "none", "authorization", "header", "cookie" or "jwt"
	name string // of the field, cookie or claim
}

func parsePrincipal(s string) (principal, error) {
	kind, name, has := strings.Cut(s, ":")
	switch kind {
	case "", "authorization":
		if !has {
			return principal{kind: "authorization"}, nil
		}
	case "none":
		if !has {
			return principal{kind: "none"}, nil
		}
	case "jwt":
		if name != "" {
			return principal{kind: kind, name: name}, nil
		}
	case "header", "cookie":
		if httpguts.ValidHeaderFieldName(name) {
			return principal{kind: kind, name: name}, nil
		}
	}
	return principal{}, fmt.Errorf("principal %q: must be none, authorization, jwt:CLAIM, header:NAME or cookie:NAME", s)
}

// of returns the parts that identify who sent r; nobody has none. Parts are compared as a whole and in order, so
// two fields are not the same principal as one with a comma.
func (p principal) of(r *http.Request, v verifier) []string {
	switch p.kind {
	case "header":
		return nonEmpty(r.Header.Values(p.name))
	case "cookie":
		return nonEmpty(cookies(r, p.name))
	case "jwt":
		if c, err := v.claims(r); err == nil {
			if text, ok := c.Text(p.name); ok {
				return []string{"verified", c.Issuer, text}
			}
		}
		return credentials(r) // somebody, but not known whom: nobody else has these
	case "authorization":
		if len(r.Header["Authorization"]) == 0 { // as most
			return nil
		}
		if c, err := v.claims(r); err == nil {
			return []string{"verified", c.Issuer, c.Subject} // a refreshed token is the same person
		}
		if user, _, ok := r.BasicAuth(); ok && len(r.Header.Values("Authorization")) == 1 {
			return []string{"basic", user} // a changed password does not make a new person
		}
		return credentials(r)
	default:
		return nil
	}
}

// cookies returns the values of the cookies of that name as they were sent. Many applications take values that RFC 6265 does not have, such as
// JSON; who brings one must not be taken for nobody.
func cookies(r *http.Request, name string) (all []string) {
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if n, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && n == name {
				all = append(all, v)
			}
		}
	}
	return all
}

// A verifier believes bearer tokens, if there are keys to verify them with.
type verifier struct{ *bearer.Verifier }

// claims returns what the request's only token says, if it is to be believed.
func (v verifier) claims(r *http.Request) (bearer.Claims, error) {
	lines := r.Header["Authorization"]
	if v.Verifier == nil || len(lines) != 1 {
		return bearer.Claims{}, bearer.ErrUnverified
	}
	return v.Claims(lines[0])
}

// credentials returns what nobody has verified. However many lines it has, it is never taken for what was: one line stands alone, and several
// behind a word of their own.
func credentials(r *http.Request) []string {
	lines := nonEmpty(r.Header.Values("Authorization"))
	if len(lines) > 1 {
		return append([]string{"lines"}, lines...)
	}
	return lines
}

func nonEmpty(values []string) []string {
	for _, v := range values {
		if v != "" {
			return values
		}
	}
	return nil
}

// whoIs returns the hashed principal of r on a route; zero for nobody. It is keyed with the ledger's
// secret: a stolen record or token does not tell who it was.
func (g *Gate) whoIs(r *http.Request, c *route) [32]byte {
	parts := c.principal.of(r, verifier{g.cfg.Bearer})
	if len(parts) == 0 {
		return [32]byte{}
	}
	return g.hash("principal", append([]string{c.principal.kind, c.principal.name}, parts...)...)
}

// hash is the keyed hash under which names are derived: its parts are length-prefixed, so that no two lists of
// parts run together.
func (g *Gate) hash(purpose string, parts ...string) [32]byte {
	m, ok := g.macs.Get().(*mac)
	if !ok {
		panic("a pool of hashes gave something else")
	}
	defer g.macs.Put(m)
	m.in = appendPart(m.in[:0], purpose)
	for _, part := range parts {
		m.in = appendPart(m.in, part)
	}
	m.Reset()
	m.Write(m.in)
	m.Sum(m.out[:0])
	return m.out
}

func appendPart(b []byte, part string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part))) //nolint:gosec // fields are limited by the server
	return append(b, part...)
}
