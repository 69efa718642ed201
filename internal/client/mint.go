package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MintRequest is what is to be minted.
type MintRequest struct {
	URL    string        // of the target, absolute
	Method string        // "": the first that the route lists, POST before others
	Count  int           // 0: one
	TTL    time.Duration // 0: as long as the route allows
}

// Minted is one POE URI.
type Minted struct {
	URI     string    `json:"uri"` // absolute
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
}

// Mint asks the target's server for POE URIs, once. The error is a ProblemError where poe refused, and a NoMintError
// where nothing there can mint; any other error means that no answer came. Minting leaves no trace, so it can be repeated.
func (c *Client) Mint(ctx context.Context, m MintRequest) ([]Minted, error) {
	target, err := parse(m.URL)
	if err != nil {
		return nil, err
	}
	if c.hasToken(target) {
		return nil, &URLError{Why: "is a POE URI already", Given: true}
	}
	a, err := c.do(ctx, request{method: http.MethodGet, url: c.mintURL(target, m), accept: "application/json"})
	if err != nil {
		return nil, fmt.Errorf("minting: %w", err)
	}
	if p, ok := c.problem(a); ok {
		return nil, &ProblemError{Problem: p, Answer: a}
	}
	var list struct {
		URIs []Minted `json:"uris"`
	}
	if a.Code != http.StatusOK || json.Unmarshal(a.Body, &list) != nil || len(list.URIs) == 0 {
		return nil, &NoMintError{Code: a.Code}
	}
	for i := range list.URIs {
		if list.URIs[i].URI, err = c.absolute(target, list.URIs[i].URI); err != nil {
			return nil, err
		}
	}
	return list.URIs, nil
}

// mintURL is where POE URIs for the target come from. "for" is the target exactly as a server would receive it.
func (c *Client) mintURL(target *url.URL, m MintRequest) *url.URL {
	q := url.Values{"for": {target.RequestURI()}}
	if m.Method != "" {
		q.Set("method", m.Method)
	}
	if m.Count != 0 {
		q.Set("count", strconv.Itoa(m.Count))
	}
	if m.TTL != 0 {
		q.Set("ttl", m.TTL.String())
	}
	// QueryEscape writes a space as a plus, which poe takes for a plus.
	return &url.URL{Scheme: target.Scheme, User: target.User, Host: target.Host, Path: c.cfg.Prefix + "new", RawQuery: strings.ReplaceAll(q.Encode(), "+", "%20")}
}

// absolute resolves a minted URI. It must be a POE URI of the same server, or somebody else would get the request.
func (c *Client) absolute(target *url.URL, text string) (string, error) {
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") { // resolving would take dot segments out, and the target is signed as it is
		text = target.Scheme + "://" + target.Host + text
	}
	ref, err := url.Parse(text)
	if err != nil {
		return "", &URLError{Why: "that was minted cannot be read"}
	}
	u := ref
	if !u.IsAbs() {
		u = target.ResolveReference(ref)
	}
	u.User = target.User
	if u.Scheme != target.Scheme || u.Host != target.Host || !c.hasToken(u) {
		return "", &URLError{Why: "that was minted is no POE URI of that server", hint: "is --param the same as there?"}
	}
	return u.String(), nil
}
