package serve

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/postonce/poe/internal/tokens"
)

// What guards the admin listener: a token, for who can reach it from elsewhere; on loopback, where every process of the machine can, at least
// pages in a browser are kept out.

// The length of an admin token, in bytes.
const (
	minToken = 32
	maxToken = 4 << 10
)

// ErrBadToken means that a file has no admin token in it.
var ErrBadToken = errors.New("not a token")

// ReadAdminToken returns the token in a file that nobody but its owner may read: one line of at least 32 visible characters. The errors do not
// show it. Where the file is missing, or others may read it, the error has a hint what to do.
func ReadAdminToken(path string) (string, error) {
	content, _, err := tokens.ReadPrivate("admin token file", path, maxToken)
	if errors.Is(err, fs.ErrNotExist) {
		return "", tokens.Hinted(err, makeToken(path))
	}
	if err != nil {
		return "", err
	}
	token := strings.TrimRight(string(content), "\r\n")
	if len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", tokens.Hinted(fmt.Errorf("admin token file %s: %w: one line of at least %d visible characters without spaces", path, ErrBadToken, minToken), makeToken(path))
	}
	return token, nil
}

// makeToken is the command that makes a token.
func makeToken(path string) string {
	return "(umask 077 && head -c 32 /dev/urandom | base64 >" + tokens.Quoted(path) + ")"
}

// An adminToken is what whoever uses the admin listener must have.
type adminToken struct {
	path string
	sum  atomic.Pointer[[sha256.Size]byte] // compared in its place, so that the time tells nothing, not even the length
}

// load reads the token. After an error the former one stays.
func (t *adminToken) load() error {
	token, err := ReadAdminToken(t.path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(token))
	t.sum.Store(&sum)
	return nil
}

// brought tells whether the request has it (RFC 6750, section 2.1).
func (t *adminToken) brought(r *http.Request) bool {
	lines := r.Header["Authorization"]
	if len(lines) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(lines[0], " ")
	sum := sha256.Sum256([]byte(strings.TrimLeft(token, " ")))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], t.sum.Load()[:]) == 1
}

// guard lets only those through who may use the admin listener: with a token, who brings it; without one, who asks for this machine by a name
// that no page can make lead here. No page of another origin is answered in either case: to look is work, too.
func (s *server) guard(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		asOrder := *r
		asOrder.Method = http.MethodPost // of others nothing is asked
		switch {
		case origins.Check(&asOrder) != nil:
			http.Error(w, "a page of another origin asks", http.StatusForbidden)
		case s.token != nil && !s.token.brought(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="poe admin"`)
			http.Error(w, "bring the token of the admin listener (--admin-token-file)", http.StatusUnauthorized)
		case s.token == nil && !loopbackName(r.Host):
			http.Error(w, "ask by a loopback address, or as localhost", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// loopbackName tells whether host, with or without a port, is an address or the name of this machine for itself.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// An OpenAdminError says that the admin listener could be reached from other machines without a token.
type OpenAdminError struct{ Address string }

// Error names the address.
func (e *OpenAdminError) Error() string {
	return fmt.Sprintf("the admin listener at %s can be reached from other machines, and no token guards it", e.Address)
}

// Hint says what to do.
func (e *OpenAdminError) Hint() string {
	return "listen on 127.0.0.1 (--admin), or make a token, " + makeToken("admin.token") + ", and name its file with --admin-token-file"
}

// loadToken reads the token of the admin listener, where there is to be one.
func (s *server) loadToken() error {
	if s.cfg.AdminTokenFile == "" {
		return nil
	}
	s.token = &adminToken{path: s.cfg.AdminTokenFile}
	if err := s.token.load(); err != nil {
		return &FileError{err}
	}
	return nil
}

// reachable returns an error where a listener for operators can be reached from elsewhere without a token. What the address resolved to counts,
// not what it looked like.
func (s *server) reachable(admin net.Listener) error {
	at, ok := admin.Addr().(*net.TCPAddr)
	if s.token == nil && (!ok || !at.IP.IsLoopback()) {
		return &OpenAdminError{Address: admin.Addr().String()}
	}
	return nil
}
