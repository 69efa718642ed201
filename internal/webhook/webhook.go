// Package webhook sends signed callbacks, as Standard Webhooks 1.0.0 describes them.
//
// The address of a callback comes from a client, so it is where somebody may try to make this server talk to its own network. Three
// things stand before that: the list of hosts that may be called; https; and a check of the address that a connection is really
// made to, after the name was looked up, so that a name which changes between two look-ups gains nothing. No redirect is followed and
// no proxy is asked.
package webhook

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Config is what a Sender is told. A zero field has the default in its comment.
type Config struct {
	// Allow lists the hosts that may be called: "hooks.example.com", "*.example.com" for all names below, either with a port, such
	// as "hooks.example.com:8443"; without one the port is the scheme's. Empty: none.
	Allow []string
	// Secrets sign: "whsec_" and 24 to 64 random bytes in base64. At least one; all sign, so that one can be replaced.
	Secrets []string
	// DangerouslyInsecure allows http and addresses of the own network. For tests.
	DangerouslyInsecure bool

	Timeout  time.Duration    // of one delivery; 20 s
	Resolver *net.Resolver    // looks up the hosts' names; the system's
	Clock    func() time.Time // time.Now
}

var (
	// ErrRefused: the address may not be called.
	ErrRefused = errors.New("callback refused")
	// ErrTooLarge: the content is over MaxContent.
	ErrTooLarge = errors.New("callback too large")
)

// MaxContent is the largest content of a callback, in bytes (Standard Webhooks: Payload size).
const MaxContent = 20_000

// A Sender sends callbacks. It is safe for concurrent use.
type Sender struct {
	cfg    Config
	allow  []host
	signer []*standardwebhooks.Webhook
	// A client would look at where a redirect leads, and an address that cannot be read would be an error with the address in it.
	connect http.RoundTripper
	guard   func(network, address string, _ syscall.RawConn) error // of what is dialled; nil: none
}

// New checks cfg, every mistake at once. No error has a secret in it.
func New(cfg Config) (*Sender, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	s := &Sender{cfg: cfg}
	var errs []error
	for i, pattern := range cfg.Allow {
		h, ok := parseHost(pattern)
		switch {
		case ok:
		case strings.HasPrefix(h.name, secretPrefix):
			errs = append(errs, fmt.Errorf("callback host %d: is a secret", i+1))
		default:
			errs = append(errs, fmt.Errorf("callback host %q: must be a name such as hooks.example.com or *.example.com", pattern))
		}
		s.allow = append(s.allow, h)
	}
	if cfg.Timeout < time.Millisecond { // as a number without its unit is: nothing would ever be delivered
		errs = append(errs, fmt.Errorf("callback timeout %s is under a millisecond", cfg.Timeout))
	}
	if len(cfg.Secrets) == 0 {
		errs = append(errs, errors.New("no secret to sign callbacks with"))
	}
	for i, secret := range cfg.Secrets {
		w, err := signer(secret)
		if err != nil {
			errs = append(errs, fmt.Errorf("callback secret %d: %w", i+1, err))
		}
		s.signer = append(s.signer, w)
	}
	s.connect = s.transport()
	return s, errors.Join(errs...)
}

// secretPrefix is how a secret begins.
const secretPrefix = "whsec_"

func signer(secret string) (*standardwebhooks.Webhook, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("must be whsec_ and 24 to 64 bytes in base64")
	}
	return standardwebhooks.NewWebhookRaw(key)
}

// transport makes connections for one delivery each: callbacks to one place are far apart.
func (s *Sender) transport() *http.Transport {
	if !s.cfg.DangerouslyInsecure {
		s.guard = ssrf.New(ssrf.WithAnyPort()).Safe // the ports are the list's matter
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: s.guard, Resolver: s.cfg.Resolver}
	return &http.Transport{
		Proxy: nil, DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			return c, guarded(err)
		},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: s.cfg.Timeout, MaxResponseHeaderBytes: 64 << 10,
	}
}

// guarded makes a refusal of the guard one of ours.
func guarded(err error) error {
	for _, wrong := range []error{ssrf.ErrProhibitedIP, ssrf.ErrProhibitedNetwork, ssrf.ErrProhibitedPort} {
		if errors.Is(err, wrong) {
			return refused("the host's address is not public")
		}
	}
	return err
}

// A host is one entry of the list.
type host struct {
	name   string // in lower case; with the dot before it, where it stands for all names below
	port   string // "": the scheme's
	suffix bool
}

func parseHost(pattern string) (h host, ok bool) {
	h = host{name: strings.ToLower(pattern)}
	if name, port, err := net.SplitHostPort(h.name); err == nil {
		h.name, h.port = name, port
	}
	if rest, ok := strings.CutPrefix(h.name, "*"); ok {
		h.name, h.suffix = rest, true
	}
	return h, h.valid()
}

func (h *host) valid() bool {
	if _, err := strconv.ParseUint(h.port, 10, 16); err != nil && h.port != "" {
		return false
	}
	bare := strings.TrimPrefix(h.name, ".")
	if _, err := netip.ParseAddr(bare); err == nil {
		return !h.suffix && bare == h.name
	}
	return isName(bare) && h.suffix == strings.HasPrefix(h.name, ".")
}

// isName tells whether s is a host name in ASCII (RFC 1123, section 2.1).
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	return !slices.ContainsFunc(strings.Split(s, "."), func(label string) bool {
		ok := label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for _, c := range []byte(label) {
			ok = ok && (c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z')
		}
		return !ok
	})
}

// matches tells whether the entry stands for a name and a port; usual is the scheme's.
func (h *host) matches(name, port, usual string) bool {
	wanted := h.port
	if wanted == "" {
		wanted = usual
	}
	if port != wanted {
		return false
	}
	if h.suffix {
		return strings.HasSuffix(name, h.name) // which begins with a dot, as no name does
	}
	return name == h.name
}
