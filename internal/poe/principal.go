package core

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
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

// An identity is what a request says of who sent it. Parts are compared as a whole and in order, so two fields are not the same principal as one
// with a comma.
type identity struct {
	parts    []string // nobody has none
	proof    []string // what else must be the same before he is shown what became of an action; nil: the parts prove themselves
	untimely bool     // his token has expired, or is not good yet
}

// of returns who sent r. What the parts are made of decides what a request is called, and so must be the same a second earlier and later, and with
// another password: what is wrong with those is for the application to say.
func (p principal) of(r *http.Request, v verifier) identity {
	switch p.kind {
	case "header":
		return identity{parts: nonEmpty(r.Header.Values(p.name))}
	case "cookie":
		return identity{parts: nonEmpty(cookies(r, p.name))}
	case "jwt":
		if c, err := v.claims(r); err == nil || errors.Is(err, bearer.ErrUntimely) {
			if text, ok := c.Text(p.name); ok {
				return identity{parts: []string{"verified", c.Issuer, text}, untimely: err != nil}
			}
		}
		return identity{parts: credentials(r)} // somebody, but not known whom: nobody else has these
	case "authorization":
		if len(r.Header["Authorization"]) == 0 { // as most
			return identity{}
		}
		if c, err := v.claims(r); err == nil || errors.Is(err, bearer.ErrUntimely) {
			return identity{parts: []string{"verified", c.Issuer, c.Subject}, untimely: err != nil} // a refreshed token is the same person
		}
		if user, password, ok := r.BasicAuth(); ok && len(r.Header.Values("Authorization")) == 1 {
			return identity{parts: []string{"basic", user}, proof: []string{"basic", user, password}} // everybody knows a name
		}
		return signed(credentials(r))
	default:
		return identity{}
	}
}

// changing are the schemes whose credentials are others with each request: they answer a challenge, or sign the request.
var changing = []string{"digest", "negotiate", "ntlm", "hawk", "oauth", "signature", "aws4-hmac-sha256", "aws4-ecdsa-p256-sha256"}

// constant finds what is the same in them each time: whom they are of.
var constant = regexp.MustCompile(`(?i)(?:^|[\s,])(username\*?|realm|credential|id|keyid|oauth_consumer_key|oauth_token)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,/]+)`)

// signed returns who sent such credentials: a repeat, which has others, is the same request, or it would be executed twice. Nothing is shown to it, since whom they name is all that is known.
func signed(lines []string) identity {
	if len(lines) != 1 {
		return identity{parts: lines}
	}
	scheme, params, _ := strings.Cut(lines[0], " ")
	if scheme = strings.ToLower(scheme); !slices.Contains(changing, scheme) {
		return identity{parts: lines}
	}
	parts := []string{"signed", scheme}
	for _, one := range constant.FindAllStringSubmatch(params, -1) {
		parts = append(parts, strings.ToLower(one[1])+"="+strings.Trim(one[2], `"`))
	}
	return identity{parts: parts, proof: append([]string{"signed"}, lines...)}
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

// An asker is who sent a request, as its route tells; nobody is the zero one. Its hashes are keyed with the ledger's secret: a stolen record or token does
// not tell who it was.
type asker struct {
	proven [32]byte // who he is, with what proves it: what he does belongs to that
	doubt  *doubt   // nil, as mostly: he is who he says he is
}

// A doubt is about an asker who can be another one than he says.
type doubt struct {
	principal [32]byte // who he says he is
	untimely  bool     // nothing is shown to him
}

// principal is what the asker's names are made of.
func (a *asker) principal() *[32]byte {
	if a.doubt != nil {
		return &a.doubt.principal
	}
	return &a.proven
}

// owns tells whether what belongs to owner is the asker's, so that he may be told of it.
func (a *asker) owns(owner *[32]byte) bool {
	return (a.doubt == nil || !a.doubt.untimely) && subtle.ConstantTimeCompare(a.proven[:], owner[:]) == 1
}

// whoIs returns who sent r, as a route tells that.
func (g *Gate) whoIs(r *http.Request, c *route) asker {
	is := c.principal.of(r, verifier{g.cfg.Bearer})
	if len(is.parts) == 0 {
		return asker{}
	}
	who := func(parts []string) [32]byte {
		return g.hash("principal", append([]string{c.principal.kind, c.principal.name}, parts...)...)
	}
	a := asker{proven: who(is.parts)}
	if is.proof != nil || is.untimely {
		a.doubt = &doubt{a.proven, is.untimely}
	}
	if is.proof != nil {
		a.proven = who(is.proof)
	}
	return a
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
