package core

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/postonce/poe/internal/content"
	"github.com/postonce/poe/internal/store"
)

// unsafe lists the methods that a route can protect, in the order in which one is picked for minting.
var unsafeMethods = []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// A route is a Route, checked and ready to match.
type route struct {
	Route
	pattern
	methods   []string
	principal principal
	clientID  []content.Place // one, or none
	unique    []content.Place
	guards    []func(*call) guard
	compare   []content.Place // what two requests are the same by; none: their whole bodies
	days      int             // that an id minted with the full ttl asks to be kept
	keyDays   int             // the same for an action that a client has named: it is remembered for one more retention after its name has expired
	origin    *http.CrossOriginProtection
	undo      *regexp.Regexp // the paths of Compensate; nil: none
}

type routes []*route

// newRoutes checks cfg's routes and reports every mistake at once. Without routes every POST is protected.
func newRoutes(cfg *Config) (routes, error) {
	if len(cfg.Routes) == 0 {
		cfg.Routes = []Route{{Name: "default", Match: "POST *"}}
	}
	all, wrong := compile(cfg)
	for i, err := range wrong {
		if err != nil {
			wrong[i] = fmt.Errorf("route %q: %w", cfg.Routes[i].Match, err)
		}
	}
	return all, errors.Join(wrong...)
}

// CheckRoutes returns why New would refuse each of cfg.Routes; nil for one that it would take. It needs nothing of cfg that is open.
func CheckRoutes(cfg Config) []error {
	cfg = cfg.withDefaults()
	_, wrong := compile(&cfg)
	return wrong
}

// compile makes cfg's routes ready to match. What is wrong with one is at its place.
func compile(cfg *Config) (all routes, wrong []error) {
	wrong = make([]error, len(cfg.Routes))
	names := map[string]bool{}
	for i, r := range cfg.Routes {
		compiled, err := newRoute(cfg, r)
		if err != nil {
			wrong[i] = err
			continue
		}
		if names[compiled.Name] {
			err = fmt.Errorf("the name %q is taken by an earlier route", compiled.Name)
		}
		if by := all.hiding(compiled); by != nil {
			err = errors.Join(err, fmt.Errorf("it would never see a request: route %q takes them, and is before it", by.Match))
		}
		wrong[i] = err
		names[compiled.Name] = true
		all = append(all, compiled)
	}
	return all, wrong
}

func newRoute(cfg *Config, r Route) (*route, error) {
	c := &route{Route: r}
	var errs []error
	errs = append(errs, c.parseMatch())
	if r.Name == "" && len(r.Unique) > 0 {
		errs = append(errs, errors.New("unique, and no name: business keys are those of a name, and would all be free under another match"))
	}
	setDefault(&c.Name, r.Match)
	setDefault(&c.TTL, cfg.TTL)
	setDefault(&c.Retention, cfg.Retention)
	setDefault(&c.RetryFor, time.Hour)
	if c.Release == nil {
		c.Release = []int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}
	}
	for _, s := range c.Release {
		if s < 400 || s > 599 {
			errs = append(errs, fmt.Errorf("releasing status %d: only failures (400 to 599) can mean that nothing was done", s))
		}
	}
	if c.TTL < time.Second {
		errs = append(errs, fmt.Errorf("ttl %s is under a second", c.TTL))
	}
	if c.Consume > ConsumeAny {
		errs = append(errs, fmt.Errorf("no such way to consume: %d", c.Consume))
	}
	if c.Repeats > RepeatsRefused {
		errs = append(errs, fmt.Errorf("no such way to answer repeats: %d", c.Repeats))
	}
	if c.Repeats != RepeatsAnswered && c.ClientID == "" {
		errs = append(errs, errors.New("a way to answer repeats under a client id, and no client id"))
	}
	if c.RetryFor < shortest {
		errs = append(errs, fmt.Errorf("retry for %s is under a millisecond", c.RetryFor))
	}
	var err error
	c.days, err = keepFor(c.TTL, c.Retention)
	errs = append(errs, err)
	if err == nil {
		c.keyDays, err = keepFor(c.Retention, c.Retention)
		errs = append(errs, err)
	}
	errs = append(errs, c.parseDoors(), c.parsePlaces(), c.parseRecovery())
	c.findGuards()
	c.undo = pathsOf(c.Compensate)
	c.principal, err = parsePrincipal(r.Principal)
	errs = append(errs, err)
	if c.principal.kind == "jwt" && cfg.Bearer == nil {
		errs = append(errs, fmt.Errorf("principal %q: there are no keys to verify tokens with", r.Principal))
	}
	if c.Authorize != "" && cfg.Authorizer == nil {
		errs = append(errs, fmt.Errorf("authorize at %q: there is nobody to ask", c.Authorize))
	}
	if c.Authorize != "" && !validTarget(c.Authorize) {
		errs = append(errs, fmt.Errorf("authorize at %q: must be a path, such as /auth", c.Authorize))
	}
	if c.has(doorCallback) && cfg.Callbacks == nil {
		errs = append(errs, errors.New("door callback: no callbacks are configured"))
	}
	c.origin = http.NewCrossOriginProtection()
	for _, o := range r.Origins {
		errs = append(errs, c.origin.AddTrustedOrigin(o))
	}
	return c, errors.Join(errs...)
}

// parseDoors checks which doors lead to the route.
func (c *route) parseDoors() error {
	if c.Doors == nil {
		c.Doors = usualDoors
	}
	var errs []error
	for i, word := range c.Doors {
		switch {
		case !slices.Contains(doorWords, word):
			errs = append(errs, fmt.Errorf("door %q: must be one of %s", word, strings.Join(doorWords, ", ")))
		case slices.Contains(c.Doors[:i], word):
			errs = append(errs, fmt.Errorf("door %q is there twice", word))
		}
	}
	if len(c.Doors) == 0 && c.ClientID == "" && len(c.Unique) == 0 && !c.Async {
		errs = append(errs, errors.New("no doors, and nothing else that makes a request an action: every one would pass unguarded"))
	}
	if c.KeyHeaders != nil && len(c.KeyHeaders) == 0 && c.has(doorKey) {
		errs = append(errs, errors.New("door key, and an empty list of key headers: what comes under a key would be executed again"))
	}
	if c.KeyHeaders != nil && !c.has(doorKey) {
		errs = append(errs, errors.New("key headers, and no door key: what comes under them would be executed again"))
	}
	if c.Require && c.ClientID == "" && !slices.ContainsFunc(c.Doors, func(word string) bool { return word != doorAsync && word != doorCallback }) {
		errs = append(errs, errors.New("require, and no door that names an action: nothing could come in"))
	}
	if c.KeyHeaders == nil {
		c.KeyHeaders = []string{"Idempotency-Key"}
	}
	for _, name := range c.KeyHeaders {
		if !httpguts.ValidHeaderFieldName(name) {
			errs = append(errs, fmt.Errorf("key header %q is not a field name", name))
		}
	}
	return errors.Join(errs...)
}

// parsePlaces reads where a request carries an id or a business key. An action with a business key is kept until the key is given back.
func (c *route) parsePlaces() error {
	var errs []error
	parse := func(text string) content.Place {
		p, err := content.ParsePlace(text)
		errs = append(errs, err)
		if name, ok := p.Variable(); ok && !c.hasVariable(name) {
			errs = append(errs, fmt.Errorf("place %q: the path has no variable of that name", text))
		}
		return p
	}
	if c.ClientID != "" {
		c.clientID = []content.Place{parse(c.ClientID)}
	}
	for _, text := range c.Unique {
		c.unique = append(c.unique, parse(text))
		c.days, c.keyDays = 0, 0
	}
	for _, text := range c.Compare {
		c.compare = append(c.compare, parse(text))
	}
	for _, method := range c.FreeOn {
		if method != http.MethodDelete {
			errs = append(errs, fmt.Errorf("free on %q: must be DELETE", method))
		}
	}
	if len(c.FreeOn) > 0 && len(c.Unique) == 0 {
		errs = append(errs, errors.New("free on DELETE, but nothing is unique"))
	}
	return errors.Join(errs...)
}

// has tells whether a door leads to the route.
func (c *route) has(door string) bool { return slices.Contains(c.Doors, door) }

// parseMatch reads "METHOD[,METHOD] /path", or "METHOD *" for every path.
func (c *route) parseMatch() error {
	methods, text, ok := strings.Cut(strings.TrimSpace(c.Match), " ")
	text = strings.TrimSpace(text)
	if !ok || text == "" {
		return fmt.Errorf("must be METHOD[,METHOD] and a path, such as %q", "POST /orders")
	}
	for _, m := range strings.Split(methods, ",") {
		m = strings.TrimSpace(m)
		if !slices.Contains(unsafeMethods, m) {
			return fmt.Errorf("method %q: only POST, PUT, PATCH and DELETE can be protected", m)
		}
		c.methods = append(c.methods, m)
	}
	var err error
	c.pattern, err = parsePattern(text)
	return err
}

// hiding returns the earlier route that takes what c is there for, which c would never see; nil: there is none.
func (rs routes) hiding(c *route) (by *route) {
	for _, m := range c.methods {
		i := slices.IndexFunc(rs, func(r *route) bool { return slices.Contains(r.methods, m) && r.covers(&c.pattern) })
		if i < 0 {
			return nil
		}
		by = rs[i]
	}
	return by
}

// find returns the first route that protects method on the path (decoded), or nil. The empty method finds the
// first route of any method. The path is cleaned before it is compared: an application that treats
// /a/../orders, //orders or /%6frders as /orders must not be reached around a route.
func (rs routes) find(method, decoded string) *route {
	cleaned := cleanPath(decoded)
	for _, r := range rs {
		if (method == "" || slices.Contains(r.methods, method)) && r.at(cleaned) {
			return r
		}
	}
	return nil
}

// protecting returns the route of an unsafe request to target, or nil. Routes are about the paths that clients use; where something in front of us has
// rewritten that (http.StripPrefix), a route for what it has become counts too, so that nothing is left unguarded by mistake.
// at is the path that it was found by.
func (rs routes) protecting(r *http.Request, target string) (rt *route, at string) {
	if !slices.Contains(unsafeMethods, r.Method) {
		return nil, ""
	}
	asked, ok := targetPath(target)
	if ok {
		if rt := rs.find(r.Method, asked); rt != nil || asked == r.URL.Path {
			return rt, asked
		}
	}
	return rs.find(r.Method, r.URL.Path), r.URL.Path
}

// otherCase tells whether a method is one of HTTP's but for the case of its letters. It is another one (RFC 9110, section 9.1), which nobody has; but some
// applications take it for that one, and it would come to them past the routes.
func otherCase(method string) bool {
	if upper := strings.ToUpper(method); upper != method {
		return slices.Contains(unsafeMethods, upper) || upper == http.MethodGet || upper == http.MethodHead || upper == http.MethodOptions
	}
	return false
}

// watchDeletions tells whether it matters to any route that a resource is deleted.
func (rs routes) watchDeletions() bool {
	return slices.ContainsFunc(rs, func(r *route) bool { return len(r.FreeOn) > 0 || r.has(doorNoneMatch) })
}

// watchWrites tells whether it matters to any route who was the last to write, or has created something.
func (rs routes) watchWrites() bool {
	return slices.ContainsFunc(rs, func(r *route) bool { return len(r.FreeOn) > 0 || r.has(doorMatch) })
}

// page returns the route that a page at the path mints for: one that takes POST before any other; or nil.
func (rs routes) page(decoded string) *route {
	r := rs.find(http.MethodPost, decoded)
	if r == nil {
		r = rs.find("", decoded)
	}
	if r == nil || !r.has(doorPOE) {
		return nil
	}
	return r
}

// named returns the route with that name, or nil.
func (rs routes) named(name string) *route {
	for _, r := range rs {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// of returns the route that a recorded action belongs to: the one that has its target now, since another one may have got the name by which it was
// recorded; or else the one with that name. Nil: there is none.
func (rs routes) of(r *store.Record) *route {
	if path, ok := targetPath(r.Target); ok && r.Kind == store.Request {
		if rt := rs.find(r.Method, path); rt != nil {
			return rt
		}
	}
	return rs.named(r.Route)
}

// mints returns the method that a POE URI is minted for where the client names none.
func (c *route) mints() string {
	if slices.Contains(c.methods, http.MethodPost) {
		return http.MethodPost
	}
	return c.methods[0]
}

func cleanPath(p string) string {
	if p == "" {
		return "/"
	}
	if p[0] == '/' && !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return p
	}
	c := path.Clean("/" + p)
	if c != "/" && strings.HasSuffix(p, "/") {
		c += "/"
	}
	return c
}

func statusText(status int) string { return strconv.Itoa(status) + " " + http.StatusText(status) }
