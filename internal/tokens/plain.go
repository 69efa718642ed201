package tokens

import (
	"bytes"
	"unicode/utf8"
)

// Nearly every token carries exactly what encode writes for it, and reading that needs no JSON decoder, which takes half of the time of a
// verification. Everything else, a token that means the same in another spelling included, is left to the decoder.

// plain reads b if it is spelled as encode does: its members in their order, no space, and no text that needs an escape. Where it returns
// false p is of no use. Where it returns true p is what the decoder makes of b.
func (p *payload) plain(b []byte, audience string) bool {
	s, known := scanner{rest: b}, words{Issuer, audience, "POST"}
	s.skip(`{"iss":"`)
	p.Issuer = s.text(&known)
	s.skip(`,"aud":"`)
	p.Audience = s.text(&known)
	s.skip(`,"jti":"`)
	p.ID = s.text(&known)
	s.skip(`,"iat":`)
	p.Issued = s.number()
	s.skip(`,"nbf":`)
	p.NotBefore = s.number()
	s.skip(`,"exp":`)
	p.Expires = s.number()
	s.skip(`,"htm":"`)
	p.Method = s.text(&known)
	s.skip(`,"htu":"`)
	p.Target = s.text(&known)
	p.seen = required
	for _, more := range []struct {
		name string
		into *string
		seen uint
	}{{`,"sub":"`, &p.Principal, seenPrincipal}, {`,"bdg":"`, &p.Digest, seenDigest}, {`,"cb":"`, &p.Callback, seenCallback}} {
		if s.has(more.name) {
			*more.into, p.seen = s.text(&known), p.seen|more.seen
		}
	}
	s.skip("}")
	return !s.failed && len(s.rest) == 0
}

// A scanner reads one spelling, and fails for good at the first thing that is another.
type scanner struct {
	rest   []byte
	failed bool
}

// words are what most tokens say, which costs no allocation. They are not the scanner's, since what it returns of its own would have to be on the heap.
type words [3]string

// has takes what off the rest, if it is there.
func (s *scanner) has(what string) bool {
	if len(s.rest) < len(what) || string(s.rest[:len(what)]) != what {
		return false
	}
	s.rest = s.rest[len(what):]
	return true
}

func (s *scanner) skip(what string) { s.failed = !s.has(what) || s.failed }

// text takes a string up to its closing quote.
func (s *scanner) text(known *words) string {
	n := bytes.IndexByte(s.rest, '"')
	if n < 0 {
		s.failed = true
		return ""
	}
	raw := s.rest[:n]
	s.rest = s.rest[n+1:]
	for _, c := range raw {
		if c == '\\' || c < ' ' {
			s.failed = true
			return ""
		}
	}
	if !utf8.Valid(raw) {
		s.failed = true
	}
	for _, w := range known {
		if string(raw) == w {
			return w
		}
	}
	return string(raw)
}

// number takes digits: no sign, no fraction, no exponent, and no zero before others, as JSON has it.
func (s *scanner) number() (n int64) {
	i := 0
	for ; i < len(s.rest) && i < len("253402300799") && '0' <= s.rest[i] && s.rest[i] <= '9'; i++ {
		n = n*10 + int64(s.rest[i]-'0')
	}
	s.failed = s.failed || i == 0 || i > 1 && s.rest[0] == '0' || i < len(s.rest) && '0' <= s.rest[i] && s.rest[i] <= '9'
	s.rest = s.rest[i:]
	return n
}
