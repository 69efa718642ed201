package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/postonce/poe/bench/internal/wrk"
)

// load prepares a round: what is sent, of which n are needed where each is good for once. What it does at the server is done when it returns.
func (b *bench) load(ctx context.Context, s *subject, on *server, n int) (wrk.Load, error) {
	l := wrk.Load{Mode: wrk.Again, URL: on.URL, Body: orderBody}
	var err error
	switch s.kind {
	case plain:
		l.Targets = longTargets(plainTargets)
	case asked:
		l.Method, l.Body = http.MethodGet, ""
		l.Targets = longTargets(usedTogether)
	case first:
		l.Mode = wrk.Once
		l.Targets, err = b.mint(ctx, on.URL, n)
	case conversation:
		l.Mode, l.Mint = wrk.Mint, mintOne
	case keyed:
		l.Mode, l.URL, l.Key = wrk.Keyed, on.URL+s.keyedPath(), keyField
	case refused:
		l.Targets, err = b.usedURIs(ctx, on, usedTogether)
	case hot:
		l.Method, l.Body = http.MethodGet, ""
		l.Targets, err = b.usedURIs(ctx, on, usedTogether)
	case cold:
		l.Mode, l.Method, l.Body = wrk.Once, http.MethodGet, ""
		if l.Targets, err = b.usedURIs(ctx, on, n); err == nil {
			err = on.Restart()
		}
	case minting, mintingMany:
		l.Method, l.Body, l.Header = http.MethodGet, "", map[string]string{"Accept": "text/plain"}
		at := map[kind]string{minting: mintOne, mintingMany: mintMany}[s.kind]
		l.Targets = []string{at, at}
	}
	if err != nil {
		return l, fmt.Errorf("preparing: %w", err)
	}
	return l, nil
}

func (s *subject) keyedPath() string {
	if s.path != "" {
		return s.path
	}
	return "/orders"
}

// longTargets are as long as a POE URI, and differ.
func longTargets(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("/orders?x=%0330d", i)
	}
	return all
}

// mint gets new POE URIs.
func (b *bench) mint(ctx context.Context, url string, n int) ([]string, error) {
	all := make([]string, 0, n)
	for len(all) < n {
		at := mintOne + "&count=" + strconv.Itoa(min(mintedAtOnce, n-len(all)))
		body, err := b.ask(ctx, question{method: http.MethodGet, url: url + at, accept: "text/plain", want: http.StatusOK})
		if err != nil {
			return nil, fmt.Errorf("minting: %w", err)
		}
		all = append(all, strings.Fields(string(body))...)
	}
	return all, nil
}

// usedURIs returns n POE URIs that were used on the server. It uses as many as are missing.
func (b *bench) usedURIs(ctx context.Context, on *server, n int) ([]string, error) {
	if missing := n - len(on.used); missing > 0 {
		fresh, err := b.mint(ctx, on.URL, missing)
		if err != nil {
			return nil, err
		}
		if err := b.use(ctx, on.URL, fresh); err != nil {
			return nil, err
		}
		on.used = append(on.used, fresh...)
	}
	return on.used[:n], nil
}

// use POSTs to all of them once.
func (b *bench) use(ctx context.Context, url string, all []string) error {
	const workers = 64
	errs := make([]error, workers)
	var posted sync.WaitGroup
	for w := range workers {
		posted.Go(func() {
			for i := w; i < len(all) && errs[w] == nil; i += workers {
				_, errs[w] = b.ask(ctx, question{method: http.MethodPost, url: url + all[i], body: orderBody, want: http.StatusCreated})
			}
		})
	}
	posted.Wait()
	return errors.Join(errs...)
}

// question is one request outside of the measurement, and the answer that it must have.
type question struct {
	method, url, accept, key, body string
	want                           int
	state                          string // the beginning of POE-State; "": any
	answer                         string // the whole body; "": any
}

func (b *bench) ask(ctx context.Context, q question) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, q.url, strings.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Accept": q.accept, keyField: q.key} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading an answer: %w", err)
	case res.StatusCode != q.want || !strings.HasPrefix(res.Header.Get("POE-State"), q.state) || q.answer != "" && string(body) != q.answer:
		return nil, fmt.Errorf("%s was answered %s, %s, with %.200q", q.method, res.Status, res.Header.Get("POE-State"), body)
	}
	return body, nil
}

// confirm asks one more time after a round, whether the server does what the row says: wrk only tells statuses below 400 from those above.
func (b *bench) confirm(ctx context.Context, s *subject, l wrk.Load) error {
	q := question{method: http.MethodPost, url: l.URL, body: orderBody, want: s.want}
	switch s.kind {
	case plain:
		q.url, q.answer = l.URL+l.Targets[0], orderBody
	case asked:
		q.method, q.body, q.url, q.answer = http.MethodGet, "", l.URL+l.Targets[0], orderBody
	case first: // the round has used it
		q.url, q.want, q.state = l.URL+l.Targets[0], http.StatusMethodNotAllowed, "done"
	case conversation:
		_, err := b.mint(ctx, l.URL, 1)
		return err // wrk has counted its statuses by themselves
	case keyed:
		q.key, q.answer = b.newKey(), orderBody
	case refused:
		q.url, q.state = l.URL+l.Targets[0], "done"
	case hot, cold:
		q.method, q.body = http.MethodGet, ""
		q.url, q.state, q.answer = l.URL+l.Targets[0], "done", orderBody
	case minting, mintingMany:
		q.method, q.body, q.url, q.accept = http.MethodGet, "", l.URL+l.Targets[0], "text/plain"
		return b.minted(ctx, s, q)
	}
	_, err := b.ask(ctx, q)
	return err
}

// minted checks that an answer has as many URIs as the row counts.
func (b *bench) minted(ctx context.Context, s *subject, q question) error {
	body, err := b.ask(ctx, q)
	if got := len(strings.Fields(string(body))); err == nil && got != s.operations() {
		err = fmt.Errorf("%d URIs were minted, not %d", got, s.operations())
	}
	return err
}
