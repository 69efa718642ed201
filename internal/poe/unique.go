package core

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/postonce/poe/internal/content"
	"github.com/postonce/poe/internal/replay"
	"github.com/postonce/poe/internal/store"
)

// The guard of unique business keys: what the route names, members of the body, fields, or variables of the path, is together one key that
// only one action has, until it is given back. It is one for all hosts, since a client may name any; a route that serves several tenants by their
// hosts has header:Host in its key.

type businessKey struct {
	*call
	got []store.Name // once they were read
}

func guardUnique(c *call) guard {
	return &businessKey{call: c}
}

func (u *businessKey) names() ([]store.Name, *problem) {
	if u.got != nil {
		return u.got, nil
	}
	values, p := u.values(u.route.unique, problemKeyRequired)
	if p != nil {
		return nil, p
	}
	parts := append([]string{u.route.Name}, values...)
	u.got = []store.Name{u.g.name(unique, parts...)}
	return u.got, nil
}

// values reads what the request says at those places. missing is the problem where it does not say it.
func (c *call) values(places []content.Place, missing *kind) ([]string, *problem) {
	values, err := content.Read(places, c.source())
	if err != nil {
		return nil, c.g.unsaid(err, missing)
	}
	return values, nil
}

// unsaid is the problem of a request that does not say what a place asks for.
func (g *Gate) unsaid(err error, missing *kind) *problem {
	var absent *content.MissingError
	p := g.problem(problemKeyInvalid)
	if errors.As(err, &absent) {
		p = g.problem(missing)
		p.Parameter = absent.Place.String()
	}
	p.Detail = err.Error()
	return p
}

func (u *businessKey) taken(s *status) bool {
	again, err := u.movedOn(s)
	if again && err == nil {
		return true
	}
	if err != nil {
		u.ledgerTrouble(err, unused)
		return false
	}
	mine := u.mine(&s.record) && *u.owner != [32]byte{}
	u.answerFor(s, &guarded{mine: mine, repeats: true, otherwise: problemDuplicate})
	return false
}

// createdAt returns the place of the resource that an answer says was created, if it is here.
func createdAt(claimed, next *store.Record) (place, bool) {
	h, _, err := replay.DecodeHead(next.Response.Head)
	if err != nil {
		return place{}, false
	}
	asked, _, err := replay.DecodeHead(claimed.Request.Head)
	if err != nil {
		return place{}, false
	}
	at, err := url.Parse(h.Get("Location"))
	if err != nil || h.Get("Location") == "" || at.Host != "" && hostScope(at.Host) != hostScope(asked.Get("Host")) {
		return place{}, false
	}
	base, err := url.ParseRequestURI(next.Target)
	if err != nil {
		return place{}, false
	}
	if at = base.ResolveReference(at); at.Opaque != "" { // "urn:isbn:…" is at no path
		return place{}, false
	}
	return placeOf(at.EscapedPath() + "?" + at.RawQuery), true
}

// A deletion watches the answer to a DELETE: where the resource is gone, what its creation guarded is free, before the client is told so. Only what was
// done when the DELETE came is free: another creation may be under way, or come between what the application looked at and its answer.
func (g *Gate) deletion(w http.ResponseWriter, r *http.Request) *linkWriter {
	ctx := context.WithoutCancel(r.Context())
	target, _, _, _ := splitToken(requestTarget(r), g.cfg.Param)
	there := g.created(ctx, r.Host, target)
	return &linkWriter{ResponseWriter: w, add: func(h http.Header, code int) {
		// An answer of ours tells what became of an action: that it is still to be done, or was cancelled, deletes nothing now. That it was done before
		// gives back what was there then: whoever did it may have come no further.
		said := h.Get("Poe-State")
		state, rest, _ := strings.Cut(said, ";")
		switch {
		case !saysDeleted(code) || state != "" && state != string(done) && state != string(unknown):
		case strings.HasSuffix(said, replayedFlag):
			_, id, _ := strings.Cut(rest, `id="`)
			id, _, _ = strings.Cut(id, `"`)
			if was, err := g.record(ctx, id); err == nil && was.Method == http.MethodDelete {
				g.deleted(ctx, g.createdBefore(ctx, r.Host, &was))
			}
		default:
			g.deleted(ctx, there)
		}
	}}
}

// saysDeleted tells whether the answer to a DELETE says that its resource is gone, or will be (202). 207 says what of it could not be deleted, and then it is there
// (RFC 4918, section 9.6.1).
func saysDeleted(status int) bool {
	return status >= 200 && status < 300 && status != http.StatusMultiStatus
}

// created returns the actions that have created, and are done with it, what a DELETE of target at host deletes, as far as they guard that: what lies there,
// and at its path alone, since a query may also say how to delete.
func (g *Gate) created(ctx context.Context, host, target string) []store.Record {
	var all []store.Record
	at := placeOf(target)
	names := []store.Name{g.resource(location, host, at), g.resource(noneMatch, host, at)}
	if at.query != "" {
		at.query = ""
		names = append(names, g.resource(location, host, at), g.resource(noneMatch, host, at))
	}
	for _, n := range names {
		r, err := g.store.Lookup(ctx, store.ByName(n))
		switch {
		case err == nil && r.State == store.Done:
			all = append(all, r)
		case err != nil && !errors.Is(err, store.ErrNotFound):
			g.log.Error().Err(err).Msg("looking up who created what is to be deleted")
		}
	}
	return all
}

// createdBefore returns those that had ended when a DELETE, which has ended since, was claimed.
func (g *Gate) createdBefore(ctx context.Context, host string, was *store.Record) []store.Record {
	return slices.DeleteFunc(g.created(ctx, host, was.Target), func(r store.Record) bool { return !r.Finished.Before(was.Claimed) })
}

// deleted frees what the creations of a resource that is gone guarded. A version tag is not among that: it was used up.
func (g *Gate) deleted(ctx context.Context, there []store.Record) {
	for i := range there {
		err := g.freeAnyhow(ctx, &there[i], &freeing{uses: []use{unique, location, noneMatch}, who: "client", why: "the resource was deleted"})
		if err != nil {
			g.log.Error().Err(err).Stringer("id", there[i].ID).Msg("freeing what a deleted resource guarded")
		}
	}
}

// hasDeleted tells whether an action that no client waits for is a DELETE that was done.
func (g *Gate) hasDeleted(s *status) bool {
	return s.phase == done && s.record.Method == http.MethodDelete && saysDeleted(s.record.Status) && g.routes.watchDeletions()
}
