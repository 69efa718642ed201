package core

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/postonce/poe/internal/store"
)

// A use is what a name is for. It stands in the name's first byte, since a record lists names and not who asked for them; the other
// 248 bits are the keyed hash.
type use byte

const (
	naming_   use = 1 + iota // names the action, for as long as it is remembered
	unique                   // a business key
	match                    // a version tag that was used up
	noneMatch                // the creation of a resource
	location                 // the resource that the action created
	lastWrite                // the resource that the action was the last to write
	nextWrite                // the action whose last write it took over when nobody knew whether it had written itself
)

// A name is a keyed hash of its parts: nobody can guess one, or tell from it what it was made of.
func (g *Gate) name(u use, parts ...string) store.Name {
	n := store.Name(g.hash("name", parts...))
	n[0] = byte(u)
	return n
}

// A place is where a resource lies: its path, decoded and cleaned, and its query, as it came, where it has one. That belongs to its name (RFC 3986, section 3.4).
type place struct{ path, query string }

// encodedSlash keeps slashes that came encoded apart from those that part a path (RFC 3986, section 2.2): two resources must not be taken for one.
var encodedSlash = strings.NewReplacer("%2F", "%00", "%2f", "%00")

func placeOf(target string) place {
	path, query, _ := strings.Cut(target, "?")
	decoded, err := url.PathUnescape(encodedSlash.Replace(path))
	if err != nil {
		decoded = path
	}
	return place{cleanPath(decoded), query}
}

// resource is the name of what lies at a place of a host: two hosts have nothing in common.
func (g *Gate) resource(u use, host string, at place) store.Name {
	if at.query == "" {
		return g.name(u, hostScope(host), at.path)
	}
	return g.name(u, hostScope(host), at.path, at.query)
}

// lastWritten is the name of the last write to what lies at a path: whatever the query of a write is, it may be one to the same.
func (g *Gate) lastWritten(host, target string) store.Name {
	return g.resource(lastWrite, host, place{path: pathOf(target)})
}

// hostScope is the host that a request asked for, in one spelling: names are of one host (RFC 9110, section 4.2.3; RFC 3986, section 3.2.2).
func hostScope(host string) string {
	host = strings.ToLower(host)
	for _, port := range []string{":80", ":443", ":"} {
		if without, ok := strings.CutSuffix(host, port); ok {
			host = without
			break
		}
	}
	return strings.TrimSuffix(host, ".")
}

func useOf(n store.Name) use { return use(n[0]) }

// Passes tells whether an action may take the name over from the one that lists it, see takes: which action it leads to then is as it should be, and
// also that it leads to none any more.
func Passes(n store.Name) bool {
	switch useOf(n) {
	case location, lastWrite, nextWrite:
		return true
	default:
		return false
	}
}

// withNames returns names with those of more that are not among them. It writes into no array that somebody else can see.
func withNames(names []store.Name, more ...store.Name) []store.Name {
	out := slices.Clip(names)
	for _, n := range more {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// claimable returns the names that an unused action is claimed with again. What else its record lists, and still has, stays its own by the claim; the
// rest was taken over, and is not claimed back.
func claimable(names []store.Name) []store.Name {
	return slices.DeleteFunc(slices.Clone(names), func(n store.Name) bool { return useOf(n) != naming_ })
}

// also returns what goes with the write that brings an action to rest: next in the place of claimed.
func (g *Gate) also(ctx context.Context, claimed, next *store.Record) store.Also {
	also := store.Also{Free: freedBy(next), Take: g.takes(ctx, claimed, next), Spawn: g.spawns(claimed, next)}
	if slices.ContainsFunc(also.Take, func(n store.Name) bool { return useOf(n) == nextWrite }) { // an earlier attempt came after another write
		for _, n := range next.Names {
			if useOf(n) == nextWrite && !slices.Contains(also.Take, n) {
				also.Free = append(also.Free, n)
			}
		}
	}
	return also
}

// spawns returns the children of that write: the call that tells of the end, and the request that takes the action back.
func (g *Gate) spawns(claimed, next *store.Record) []store.Record {
	children := g.calls(claimed, next)
	if next.State == store.Unknown && next.Undo != claimed.Undo {
		children = append(children, g.compensation(next))
	}
	return children
}

// freedBy returns the names that an action gives back when it comes to rest as r says. What was surely not done guards nothing. Of
// what was answered with a failure:
//
//   - a business key is free after 4xx, since the application has refused; after 5xx nobody knows what is left behind, and it stays;
//   - a version tag is free too: an application with version tags refuses a second use by itself. Not for POST, where the tag is that of
//     the page which the client saw, and nobody but us counts its uses;
//   - a creation is free, for the same reason.
//
// What a person has burned because nobody will ever know is like a failure of the second kind.
func freedBy(r *store.Record) []store.Name {
	var free []store.Name
	for _, n := range r.Names {
		if freesAt(useOf(n), r) {
			free = append(free, n)
		}
	}
	return free
}

// wasNone tells whether an action that has come to rest as r says surely did nothing.
func wasNone(r *store.Record) bool {
	return r.State == store.Unused || r.State == store.Burned && !burnedInDoubt(r) || endedUndone(r)
}

func freesAt(u use, r *store.Record) bool {
	inDoubt := r.State == store.Burned && burnedInDoubt(r)
	ended := wasNone(r)
	refused := r.State == store.Done && r.Status >= 400 && r.Status < 500
	failed := r.State == store.Done && r.Status >= 500 || inDoubt
	switch u {
	case unique:
		return ended || refused
	case match:
		return ended || refused || failed && r.Method != http.MethodPost
	case noneMatch:
		return ended || refused || failed
	default:
		return false
	}
}

// A freeing says which names an action loses though it does not come to rest, and how its history tells that.
type freeing struct {
	uses     []use
	who, why string
}

// guarding lists the uses of names that guard.
var guarding = []use{unique, match, noneMatch, location}

// free takes names off an action, wherever it stands. store.ErrStale: it has moved on, and is what is returned; nil: it is forgotten.
func (g *Gate) free(ctx context.Context, r *store.Record, f *freeing) (*store.Record, error) {
	var names []store.Name
	for _, n := range r.Names {
		if slices.Contains(f.uses, useOf(n)) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return r, nil
	}
	next := *r
	next.Term = g.newTerm()
	next.Note(store.Event{At: g.now(), From: r.State, To: r.State, Who: f.who, Why: "its guards are free: " + f.why, Status: r.Status})
	got, err := g.writeAdvance(ctx, r, &next, store.Also{Free: names})
	if err == nil {
		g.front.Add(got)
	}
	return got, err
}

// freeAnyhow is free for one that may move on meanwhile.
func (g *Gate) freeAnyhow(ctx context.Context, r *store.Record, f *freeing) (err error) {
	stands := r
	for range lateTries {
		if stands, err = g.free(ctx, stands, f); !errors.Is(err, store.ErrStale) {
			return err
		}
		if stands == nil {
			return nil // it is forgotten, and holds nothing
		}
	}
	return err
}

// ErrNoAction means that there is no action of that id.
var ErrNoAction = errors.New("there is no action of that id")

// Free gives back the business keys, tags and creations that an action guards, wherever it stands: another action may have them then. who is
// written into its history. When it returns nil they are free, even if the action has moved on meanwhile; what an action claims after that it holds.
//
// Errors: ErrNoAction, and *ConflictError, where it moved on each time.
func (g *Gate) Free(ctx context.Context, id, who string) error {
	r, err := g.record(ctx, id)
	if err != nil {
		return err
	}
	err = g.freeAnyhow(ctx, &r, &freeing{uses: guarding, who: who, why: "a person said so"})
	switch {
	case errors.Is(err, store.ErrStale):
		return &ConflictError{State: phaseOf(r.State).word(), Why: "it changes all the time: try again"}
	case err != nil:
		return fmt.Errorf("freeing what %s guards: %w", id, err)
	}
	return nil
}
