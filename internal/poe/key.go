package core

import (
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"
	"github.com/google/uuid"

	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The door of idempotency keys and tracking ids (draft-ietf-httpapi-idempotency-key-header-07, and what deployments send): a field of
// the route's list names the action.

// maxKey is the length of a key, in bytes; longKey the one from which on nobody has the same key by chance.
const (
	maxKey  = 255
	longKey = 32
)

func openKey(c *call) (naming, *problem) {
	if !c.route.has(doorKey) {
		return nil, nil
	}
	key, p := c.key()
	if p != nil {
		return nil, p
	}
	if key == "" {
		return nil, nil
	}
	n := c.newName(doorKey, key, sharedKey(key))
	n.marks = n.markKey
	return n, nil
}

// sharedKey tells whether a key is one that no two clients choose. If another principal brings it, then it is the same client with
// another credential, and what it asks for may have been done already.
func sharedKey(key string) bool {
	if len(key) >= longKey {
		return true
	}
	_, err := uuid.Parse(key)
	return err == nil
}

// key returns the key that the request carries; "" for none. One that is there more than once must be the same each time, in one
// line of each field.
func (c *call) key() (string, *problem) {
	found := ""
	for _, name := range c.route.KeyHeaders {
		lines := c.r.Header.Values(name)
		if len(lines) == 0 {
			continue
		}
		key, ok := parseKey(lines)
		switch {
		case !ok:
			return "", c.badKey(name, "is not one key: a string in double quotes, or as it is, of 1 to 255 printable ASCII characters, on one line")
		case found != "" && found != key:
			return "", c.badKey(name, "is not the key that another field of the request has")
		}
		found = key
	}
	return found, nil
}

func (c *call) badKey(field, why string) *problem {
	p := c.g.problem(problemKeyInvalid)
	p.Parameter, p.Detail = field, why
	return p
}

// parseKey reads a structured string (RFC 9651, section 3.3.3), or what most clients send: the key as it is.
func parseKey(lines []string) (string, bool) {
	if len(lines) != 1 || len(lines[0]) > 2*maxKey+2 {
		return "", false
	}
	key := lines[0]
	if strings.HasPrefix(key, `"`) {
		item, err := httpsfv.UnmarshalItem(lines)
		if err != nil {
			return "", false
		}
		text, ok := item.Value.(string)
		return text, ok && text != "" && len(text) <= maxKey
	}
	if key == "" || len(key) > maxKey {
		return "", false
	}
	for _, b := range []byte(key) {
		if b <= ' ' || b > '~' || b == '"' || b == ',' || b == ';' {
			return "", false
		}
	}
	return key, true
}

// markKey says until when the key repeats the answer. What a guard answers is about an action that it does not name.
func (n *byName) markKey(h http.Header, s *status, replayed bool) {
	if s.record.ID.IsZero() || s.phase == unused || s.phase == gone {
		return
	}
	if n.names(&s.record) {
		h.Set("Idempotency-Expires", n.until(&s.record).UTC().Format(http.TimeFormat))
	}
	if replayed {
		h.Set(replay.Replayed, "true")
	}
}

// alongKey is a key that was sent along with a POE URI: from then on it names the same action.
type alongKey struct{ *call }

func guardKey(c *call) guard {
	if !c.viaURI() {
		return nil
	}
	for _, name := range c.route.KeyHeaders {
		if len(c.r.Header.Values(name)) > 0 {
			return alongKey{c}
		}
	}
	return nil
}

func (a alongKey) names() ([]store.Name, *problem) {
	key, p := a.key()
	if p != nil {
		return nil, p
	}
	return []store.Name{a.newName(doorKey, key, sharedKey(key)).name}, nil
}

func (a alongKey) taken(s *status) bool {
	p := a.tell(problemKeyReused, s, false)
	p.Retry, p.Detail = retryNever, "the key names an action already, which may be this very request: under a new key it would be executed again. Sent with the key and without the POE URI, it is answered as that action stands"
	a.g.write(a.w, a.r, p)
	return false
}
