package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Get returns what is at a POE URI or an outcome's address: the outcome, or how far it is. The error is an
// UnguardedError where poe does not stand in front, a ProblemError where poe refuses; any other means that no answer came.
func (c *Client) Get(ctx context.Context, text string) (Answer, error) {
	u, err := parse(text)
	if err != nil {
		return Answer{}, err
	}
	a, err := c.do(ctx, request{method: http.MethodGet, url: u})
	if err != nil {
		return Answer{}, fmt.Errorf("getting the outcome: %w", err)
	}
	return c.look(a)
}

// Receipt returns the receipt of the action at a POE URI or an outcome's address. Errors are those of Get.
func (c *Client) Receipt(ctx context.Context, text string) (Answer, error) {
	u, err := parse(text)
	if err != nil {
		return Answer{}, err
	}
	if c.hasToken(u) {
		if u, err = c.outcomeOf(ctx, u); err != nil {
			return Answer{}, err
		}
	}
	if !strings.HasSuffix(u.Path, "/receipt") {
		u = u.JoinPath("receipt")
	}
	a, err := c.do(ctx, request{method: http.MethodGet, url: u})
	if err != nil {
		return Answer{}, fmt.Errorf("getting the receipt: %w", err)
	}
	return c.look(a)
}

// outcomeOf finds the outcome's address from a POE URI.
func (c *Client) outcomeOf(ctx context.Context, u *url.URL) (*url.URL, error) {
	a, err := c.do(ctx, request{method: http.MethodHead, url: u})
	if err != nil {
		return nil, fmt.Errorf("looking for the outcome: %w", err)
	}
	if a.Code >= http.StatusBadRequest { // a refusal, whose problem HEAD leaves out
		if a, err = c.do(ctx, request{method: http.MethodGet, url: u}); err != nil {
			return nil, fmt.Errorf("looking for the outcome: %w", err)
		}
	}
	if _, err = c.look(a); err != nil {
		return nil, err
	}
	link := c.outcomeLink(a)
	if link == "" {
		return nil, &NoReceiptError{State: a.State.Name}
	}
	ref, err := u.Parse(link)
	if err != nil || ref.Host != u.Host || ref.Scheme != u.Scheme {
		return nil, &URLError{Why: "of the outcome is not one of that server"}
	}
	ref.User = u.User
	return ref, nil
}

// look tells poe's own answers from others'.
func (c *Client) look(a Answer) (Answer, error) {
	if p, ok := c.problem(a); ok && p.Name() != "outcome-purged" {
		return a, &ProblemError{Problem: p, Answer: a}
	}
	if a.State.Name == "" {
		return a, &UnguardedError{Code: a.Code, Method: http.MethodGet}
	}
	return a, nil
}

// NoReceiptError says that there is no receipt, mostly because nothing has been done.
type NoReceiptError struct{ State string }

// Error says where the action stands.
func (e *NoReceiptError) Error() string {
	return fmt.Sprintf("there is no receipt: the POE URI is %s", e.State)
}

// Hint says what to look at where there must be one.
func (e *NoReceiptError) Hint() string {
	if e.State == "unused" {
		return ""
	}
	return "there should be one; is --prefix the same as there?"
}
