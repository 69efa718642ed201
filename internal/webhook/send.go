package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 64 << 10

// maxURL is the longest address, in bytes.
const maxURL = 2048

// Check tells whether an address may be called, as far as that can be known without looking up its name. Its errors wrap ErrRefused and
// say why.
func (s *Sender) Check(address string) error {
	_, err := s.parse(address)
	return err
}

func refused(why string) error { return fmt.Errorf("%w: %s", ErrRefused, why) }

func (s *Sender) parse(address string) (*url.URL, error) {
	if len(address) > maxURL {
		return nil, refused("the address is too long")
	}
	for _, c := range []byte(address) {
		if c <= ' ' || c > '~' || c == '\\' {
			return nil, refused("the address has characters that none has")
		}
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, refused("not an absolute address")
	}
	usual := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	switch {
	case usual == "", u.Scheme == "http" && !s.cfg.DangerouslyInsecure:
		return nil, refused("only https is called")
	case u.User != nil:
		return nil, refused("the address has credentials in it")
	case strings.Contains(address, "#"):
		return nil, refused("the address has a fragment")
	}
	name, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = usual
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.HasSuffix(u.Host, ":") {
		return nil, refused("the address has no port that there is")
	}
	if _, err := netip.ParseAddr(name); err != nil && !isName(name) {
		return nil, refused("the host is not a name")
	}
	if !slices.ContainsFunc(s.allow, func(h host) bool { return h.matches(name, port, usual) }) {
		return nil, refused("port " + port + " of the host is not on the list")
	}
	return u, nil
}

// A Message is a callback. Its ID is the same each time that it is sent.
type Message struct {
	ID      string // without dots
	URL     string
	Content []byte // JSON, at most MaxContent
}

// A Result is how a receiver answered.
type Result struct {
	Status     int
	RetryAfter time.Duration // what it asks for; zero: nothing; at most a day
}

// Delivered tells whether the receiver has it.
func (r Result) Delivered() bool { return r.Status >= 200 && r.Status < 300 }

// Ended tells whether the receiver wants no callbacks any more: 410.
func (r Result) Ended() bool { return r.Status == http.StatusGone }

// Send sends m once, signed anew with the time of now. An error means that there was no whole answer: the message may have arrived.
// One that wraps ErrRefused or ErrTooLarge means that surely nothing was sent.
func (s *Sender) Send(ctx context.Context, m Message) (Result, error) {
	if len(m.Content) > MaxContent {
		return Result{}, ErrTooLarge
	}
	u, err := s.parse(m.URL)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(m.Content))
	if err != nil {
		return Result{}, refused("not an address")
	}
	r.GetBody = nil // it is sent once
	now := s.cfg.Clock()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "poe")
	r.Header.Set(standardwebhooks.HeaderWebhookID, m.ID)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	signatures := make([]string, len(s.signer))
	for i, w := range s.signer {
		if signatures[i], err = w.Sign(m.ID, now, m.Content); err != nil {
			return Result{}, fmt.Errorf("signing a callback: %w", err)
		}
	}
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	res, err := s.connect.RoundTrip(r)
	if err != nil {
		return Result{}, fmt.Errorf("calling back: %w", err)
	}
	defer func() { _ = res.Body.Close() }()              // read as far as it is wanted
	if res.StatusCode != http.StatusSwitchingProtocols { // which gives the connection away: nothing ends a read from it
		_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
	}
	return Result{Status: res.StatusCode, RetryAfter: retryAfter(res.Header.Get("Retry-After"), now)}, nil
}

// retryAfter reads Retry-After (RFC 9110, section 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), 24*time.Hour)
}

// Tries is how often a callback is sent before it is left to a person.
const Tries = 10

// waits are the pauses before each try (Standard Webhooks: Deliverability and reliability).
var waits = [Tries]time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
	5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// Wait returns the pause before the next try after so many that failed, and false where there is none. jitter, from 0 to 1, makes it up
// to a tenth longer, so that many which failed together do not come back together.
func Wait(failed int, jitter float64) (time.Duration, bool) {
	if failed < 0 || failed >= len(waits) {
		return 0, false
	}
	d := waits[failed]
	return d + time.Duration(float64(d)*jitter/10), true
}
