package core

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/dunglas/httpsfv"

	"github.com/postonce/poe/internal/content"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// blindBody is the largest body that is read before anybody has looked whether the action is still unused, in bytes.
const blindBody = 64 << 10

// complete reads the body before anything is claimed: it must be within the limit, whole, and the one that was
// announced. It answers and returns false where it is not.
func (c *call) complete(s *status) bool {
	g := c.g
	guessed := c.guesses(s) != nil
	if !guessed {
		c.say(s)
	}
	var p *problem
	switch err := c.readBody(); {
	case err == nil && c.digestsMatch(c.body):
		return true
	case err == nil:
		p = g.problem(problemDigestMismatch)
	case errors.Is(err, replay.ErrSpoolFull) && !c.elsewhere(s):
		p = g.problem(problemNotExecuted)
		p.Status = http.StatusServiceUnavailable
	default:
		p = c.unread(err)
	}
	if !guessed {
		p = p.about(g, s)
	}
	g.write(c.w, c.r, p)
	return false
}

// elsewhere tells whether the request may have been executed as another action than s, which only its claim would find.
func (c *call) elsewhere(s *status) bool {
	_, none := c.naming.(byNothing)
	return len(c.guards) > 0 || none && s.record.ID.IsZero()
}

// source is the request, for who looks into it. Its body has been read.
func (c *call) source() content.Source {
	return content.Source{
		Header: c.fields(), Query: c.query(), Host: hostScope(c.r.Host), Vars: c.route.vars(c.found()), Body: func() io.Reader { return c.body.Reader() }, Size: c.body.Size(), Digest: c.digest,
	}
}

// fields are the request's as the application gets them: without those that Connection names (RFC 9110, section 7.6.1).
func (c *call) fields() http.Header {
	for _, v := range c.r.Header["Connection"] {
		if !strings.EqualFold(v, "close") && !strings.EqualFold(v, "keep-alive") { // as mostly
			return c.g.endToEnd(c.r.Header)
		}
	}
	return c.r.Header
}

// found is the path that the route was found by.
func (c *call) found() string {
	if c.at == "" { // by a POE URI
		return c.path()
	}
	return cleanPath(c.at)
}

// readBody reads the body into the spool, once; how that ended is remembered.
func (c *call) readBody() error {
	g := c.g
	switch {
	case c.body != nil:
	case c.r.ContentLength > g.cfg.MaxBody:
		return replay.ErrTooLarge
	default:
		c.body = g.cfg.Spool.New()
		c.body.Expect(c.r.ContentLength)
		defer g.bodies.endReading(g.bodies.beginReading(c.w, g.cfg.Patience)) // also where what reads the body panics
		_, c.bodyErr = c.body.CopyLimited(c.incoming(), g.cfg.MaxBody)
		c.bodyErr = overLimit(c.bodyErr)
		if c.bodyErr == nil && c.readBefore(c.body.Size()) {
			g.log.Error().Str("route", c.route.Name).Msg("less of a body came than was announced, or nothing where no length was: something in front has read it, or has decoded it and left Content-Length as it was. It is refused, since it cannot be compared with another; put Once in front of what reads or decodes bodies")
			c.bodyErr = errReadBefore
		}
		c.digest = c.body.Digest()
	}
	return c.bodyErr
}

// errReadBefore: somebody between the server and the gate has taken the body, or a part of it.
var errReadBefore = errors.New("the body was read before")

// readBefore tells whether less of the body was there, size bytes, than was announced. Where nothing was announced, one that is empty counts as read in
// a program: the server does not tell it from one that something in front of Once has read to its end, and that one would be equal to every other.
func (c *call) readBefore(size int64) bool {
	if c.r.ContentLength >= 0 {
		return size < c.r.ContentLength
	}
	_, program := c.exec.(HandlerExecutor)
	return program && size == 0 && c.incoming() != http.NoBody
}

// digestsMatch compares the body with the digest in the token, and with what the client says in Content-Digest
// (RFC 9530). Algorithms that we do not know are no reason to refuse; a field that cannot be read is.
func (c *call) digestsMatch(body *replay.Body) bool {
	sum := c.digest
	if c.claims.Digest != ([32]byte{}) && subtle.ConstantTimeCompare(c.claims.Digest[:], sum[:]) != 1 {
		return false
	}
	lines := append(slices.Clip(c.r.Header["Content-Digest"]), c.r.Trailer["Content-Digest"]...) // which is there: the body was read
	if len(lines) == 0 {
		return true
	}
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return false
	}
	for _, name := range d.Names() {
		member, _ := d.Get(name)
		item, ok := member.(httpsfv.Item)
		said, isBytes := item.Value.([]byte)
		if !ok || !isBytes {
			return false
		}
		switch name {
		case "sha-256":
			if subtle.ConstantTimeCompare(said, sum[:]) != 1 {
				return false
			}
		case "sha-512":
			h := sha512.New()
			if _, err := io.Copy(h, body.Reader()); err != nil || subtle.ConstantTimeCompare(said, h.Sum(nil)) != 1 {
				return false
			}
		}
	}
	return true
}

// sameness returns the digest by which another request is told from this one: method, target, what has become of the target on its way to us, media type
// and decoded content, or what stands at those places of it.
func (c *call) sameness(compare []content.Place) ([32]byte, error) {
	var sum [32]byte
	var err error
	if len(compare) > 0 {
		sum, err = content.DigestOf(compare, c.source())
	} else {
		sum, err = content.Digest(c.source())
	}
	if err != nil {
		return sum, fmt.Errorf("comparing requests: %w", err)
	}
	var in []byte
	for _, part := range []string{c.method, c.target, c.r.URL.Path, c.query(), string(sum[:]), c.salt} {
		in = appendPart(in, part)
	}
	return sha256.Sum256(in), nil
}

// same tells whether this request is the one that was claimed as r. A body that did not arrive is a problem.
func (c *call) same(r *store.Record) (bool, *problem) {
	switch err := c.readBody(); {
	case c.g.outgrows(err, r.Request.Size): // so it is not the one that was executed
		return false, nil
	case err != nil:
		return false, c.unread(err)
	}
	if r.Digest == [32]byte{} { // claimed without a name, which it got by an earlier attempt
		return c.digest == r.Request.Digest && c.method == r.Method && c.target == r.Target, nil
	}
	if c.isSum(c.route.compare, r.Digest) {
		return true, nil
	}
	return len(c.route.compare) > 0 && c.isSum(nil, r.Digest), nil // the route may compare only since then
}

// isSum tells whether digest is what sameness makes of the request. One that lacks what it would be compared by is another than the first, which had it.
func (c *call) isSum(compare []content.Place, digest [32]byte) bool {
	sum, err := c.sameness(compare)
	return err == nil && sum == digest
}

// unread is the problem of a body that is not here.
func (c *call) unread(err error) *problem {
	switch {
	case errors.Is(err, replay.ErrTooLarge):
		return c.g.problem(problemTooLarge)
	case errors.Is(err, replay.ErrSpoolFull):
		p := c.g.problem(problemLedgerUnavailable) // whether this request was executed before only its body could tell
		p.Detail = "there is no room for the body of this request"
		return p
	case errors.Is(err, errReadBefore):
		p := c.g.problem(problemIncompleteBody)
		p.Detail = "it was read before it could be compared, or is empty and came without a Content-Length"
		return p
	default:
		return c.g.problem(problemIncompleteBody)
	}
}

// unlessSame returns what is wrong with this request for an action that was claimed by another one: k, or that its body did not arrive.
func (c *call) unlessSame(s *status, k *kind) *problem {
	same, trouble := c.same(&s.record)
	if same {
		return nil
	}
	p := c.about(k, s)
	if trouble != nil {
		trouble.State, trouble.Outcome = p.State, p.Outcome
		return trouble
	}
	return p
}

// bodySum returns the digest of this request's body, even where the client waits to be asked for it. Its errors are
// replay.ErrTooLarge, and why the body did not arrive.
func (c *call) bodySum() ([32]byte, error) {
	switch {
	case c.body != nil:
		return c.digest, c.bodyErr
	case c.r.ContentLength > c.g.cfg.MaxBody:
		return [32]byte{}, replay.ErrTooLarge
	}
	defer c.g.bodies.endReading(c.g.bodies.beginReading(c.w, c.g.cfg.Patience))
	sum, n, err := c.g.cfg.Spool.Sum(c.incoming(), c.g.cfg.MaxBody+1)
	switch {
	case err != nil:
		return [32]byte{}, overLimit(err)
	case n > c.g.cfg.MaxBody:
		return [32]byte{}, replay.ErrTooLarge
	case c.readBefore(n):
		return [32]byte{}, errReadBefore
	}
	return sum, nil
}

// incoming is the body as it comes. A request that was made by hand, not by a server, may have none.
func (c *call) incoming() io.Reader {
	if c.r.Body == nil {
		return http.NoBody
	}
	return c.r.Body
}

// errFrontLimit: the body is over a limit that something in front of us has set.
var errFrontLimit = fmt.Errorf("%w, as something in front of the gate says", replay.ErrTooLarge)

// outgrows tells of a body that could not be read whether it is larger than one of size bytes that was executed. Over a limit in front of us, which may
// have been another one then, nobody knows.
func (g *Gate) outgrows(err error, size int64) bool {
	return errors.Is(err, replay.ErrTooLarge) && !errors.Is(err, errFrontLimit) && size <= g.cfg.MaxBody
}

// overLimit makes a limit that something in front of us has set (http.MaxBytesReader) one like our own.
func overLimit(err error) error {
	if err == nil { // mostly: no room is needed for another
		return nil
	}
	var limit *http.MaxBytesError
	if errors.As(err, &limit) {
		return errFrontLimit
	}
	return err
}
