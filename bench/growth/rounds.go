package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/postonce/poe/bench/internal/proc"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/store/pebblestore"
)

// serveAll starts a server on each ledger, and sends them the rounds in turn.
func (p *plan) serveAll(ctx context.Context, all actions, subjects []*subject) (err error) {
	upstream, stop, err := application(ctx)
	if err != nil {
		return err
	}
	defer stop()
	defer func() {
		for _, s := range subjects {
			if s.server != nil {
				err = errors.Join(err, s.server.Stop())
			}
		}
	}()
	asked := make([][]string, len(subjects))
	for i, s := range subjects {
		if asked[i], err = p.begin(ctx, s, all, upstream); err != nil {
			return err
		}
	}
	for round := range p.rounds {
		for i, s := range subjects {
			if err := p.round(ctx, s, share(asked[i], p.rounds, round)); err != nil {
				return fmt.Errorf("round %d on %d actions: %w", round+1, s.size, err)
			}
		}
	}
	for _, s := range subjects {
		if err := p.finish(ctx, s, upstream); err != nil {
			return err
		}
	}
	return nil
}

// begin measures the folder as it was filled, starts a server on it, and returns the outcomes that it will be asked for.
func (p *plan) begin(ctx context.Context, s *subject, all actions, upstream string) (asked []string, err error) {
	if s.asIs, err = onDisk(s.dir, s.size); err != nil {
		return nil, err
	}
	secret, err := p.secret(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.server, s.started, err = p.start(ctx, s, upstream); err != nil {
		return nil, err
	}
	for range min(p.requests*p.rounds, s.size) {
		id, err := all.id(rand.IntN(s.size)) //nolint:gosec // which ones does not matter
		if err != nil {
			return nil, err
		}
		asked = append(asked, outcome(secret, id))
	}
	return asked, nil
}

// secret reads the ledger's secret.
func (p *plan) secret(ctx context.Context, s *subject) (secret [32]byte, err error) {
	l, err := pebblestore.Open(ctx, pebblestore.Config{Dir: s.ledger(), Clock: p.clock})
	if err != nil {
		return secret, err
	}
	return l.Secret(), l.Close()
}

// outcome is the address of an action's outcome: docs/decisions/0002.
func outcome(secret [32]byte, id store.ID) string {
	const purpose = "outcome"
	in := binary.BigEndian.AppendUint32(nil, uint32(len(purpose)))
	in = binary.BigEndian.AppendUint32(append(in, purpose...), uint32(len(id)))
	mac := hmac.New(sha256.New, secret[:])
	mac.Write(append(in, id[:]...))
	return "/poe/outcomes/" + base64.RawURLEncoding.EncodeToString(mac.Sum(id[:])[:32])
}

// share is what one of the rounds gets.
func share(all []string, rounds, round int) []string {
	return all[len(all)*round/rounds : len(all)*(round+1)/rounds]
}

// round sends POSTs, and asks for outcomes.
func (p *plan) round(ctx context.Context, s *subject, asked []string) error {
	minted, err := mint(ctx, s.server, p.requests)
	if err != nil {
		return err
	}
	posts, err := p.load(s.server, &request{method: http.MethodPost, status: "201", targets: minted})
	if err != nil {
		return fmt.Errorf("first POSTs: %w", err)
	}
	s.posts, s.consumed = append(s.posts, posts), s.consumed+len(minted)
	outcomes, err := p.load(s.server, &request{method: http.MethodGet, status: "200", targets: asked})
	if err != nil {
		return fmt.Errorf("outcomes: %w", err)
	}
	s.outcomes = append(s.outcomes, outcomes)
	return nil
}

// finish reads what the server has used, and kills it, to see how it starts after that.
func (p *plan) finish(ctx context.Context, s *subject, upstream string) error {
	u, err := proc.Measure([]int{s.server.PID()})
	if err != nil {
		return err
	}
	s.peak = u.Peak
	if s.end, err = proc.Resident(s.server.PID()); err != nil {
		return err
	}
	if s.files, err = proc.OpenFiles(s.server.PID()); err != nil {
		return err
	}
	return p.kill(ctx, s, upstream)
}
