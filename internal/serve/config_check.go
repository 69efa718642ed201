package serve

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	core "github.com/postonce/poe/internal/poe"

	"github.com/postonce/poe/internal/bearer"
	"github.com/postonce/poe/internal/content"
	"github.com/postonce/poe/internal/ledger"
	"github.com/postonce/poe/internal/store"
	"github.com/postonce/poe/internal/webhook"
)

// skew is what an action's memory outlives its URI by on top of the retention: clocks differ, and days are rounded up.
const skew = 24 * time.Hour

// check finds what reads well and makes no sense.
func check(c *Config, d *decoder) {
	checkPlaces(c, d)
	checkState(c, d)
	checkLimits(c, d)
	checkLog(c, d)
	checkLife(d, "", life{c.TTL, c.Retention})
	checkCallbacks(c, d)
	seen := map[string]origin{}
	for i, match := range c.Protect {
		checkMatch(d, seen, fmt.Sprintf("protect[%d]", i), match)
	}
	names := map[string]origin{}
	for i := range c.Routes {
		checkRoute(&c.Routes[i], d, fmt.Sprintf("routes[%d].", i))
		checkDoors(c, &c.Routes[i], d, fmt.Sprintf("routes[%d].", i))
		checkRecovery(&c.Routes[i], d, fmt.Sprintf("routes[%d].", i))
		checkMatch(d, seen, fmt.Sprintf("routes[%d].match", i), c.Routes[i].Match)
		checkName(d, names, fmt.Sprintf("routes[%d].name", i), c.Routes[i].Name)
	}
	checkEngine(c, d)
}

// checkEngine has the engine look at the routes with which nothing is wrong so far: what it would refuse must be said before a ledger is opened, and of
// where it was written.
func checkEngine(c *Config, d *decoder) {
	if d.isWrong("ttl") || d.isWrong("retention") {
		return // all routes would be wrong with them
	}
	engine := core.Config{TTL: c.TTL, Retention: c.Retention, Callbacks: new(webhook.Sender), Bearer: new(bearer.Verifier), Authorizer: http.NotFoundHandler()}
	var places []string
	for i, r := range c.Guarded() {
		at := fmt.Sprintf("routes[%d]", i)
		if i >= len(c.Routes) {
			at = fmt.Sprintf("protect[%d]", i-len(c.Routes))
		}
		if !d.isWrong(at) {
			engine.Routes, places = append(engine.Routes, r.guarded()), append(places, at)
		}
	}
	for i, err := range core.CheckRoutes(engine) {
		if err != nil {
			d.wrong(places[i], "%q: %s", engine.Routes[i].Match, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
}

// checkPlaces looks at what is listened on and talked to.
func checkPlaces(c *Config, d *decoder) {
	checkAddress(d, "listen", c.Listen)
	if c.Admin != "" {
		checkAddress(d, "admin", c.Admin)
		if meet(c.Admin, c.Listen) {
			d.wrong("admin", "%q is what listen has (%q); they must differ", c.Admin, c.Listen)
		}
		if c.AdminTokenFile == "" && !loopbackName(c.Admin) {
			e := OpenAdminError{Address: c.Admin}
			d.wrong("admin", "%s: %s", e.Error(), e.Hint())
		}
	} else if c.AdminTokenFile != "" {
		d.wrong("admin_token_file", "is here without admin: there is nothing to guard")
	}
	if c.Upstream == "" {
		d.wrong("upstream", "is missing: say where the application is, e.g. http://127.0.0.1:9000")
	} else {
		checkOrigin(d, "upstream", c.Upstream)
		if own := c.leadsBack(); own != "" {
			d.wrong("upstream", "%q is where poe itself listens (%s), and requests would go round in a circle: say where the application is", c.Upstream, own)
		}
	}
	if c.PublicURL != "" {
		checkOrigin(d, "public_url", c.PublicURL)
	}
	for i, p := range c.TrustedProxies {
		if _, err := network(p); err != nil {
			d.wrong(fmt.Sprintf("trusted_proxies[%d]", i), "%q %s", p, err)
		}
	}
	if c.TLSCert != "" && c.TLSKey == "" {
		d.wrong("tls_cert", "is here without tls_key")
	}
	if c.TLSKey != "" && c.TLSCert == "" {
		d.wrong("tls_key", "is here without tls_cert")
	}
	if c.JWTAudience != "" && c.JWKS == "" {
		d.wrong("jwt_audience", "is here without jwks: there are no keys to verify tokens with")
	}
	if !prefixForm.MatchString(c.Prefix) || strings.Contains(c.Prefix, "/./") || strings.Contains(c.Prefix, "/../") {
		d.wrong("prefix", "%q is not a path like /poe/: slashes at both ends, between them letters, digits, and - . _ ~, and no segment of dots", c.Prefix)
	}
	if !paramForm.MatchString(c.Param) {
		d.wrong("param", "%q is not a name: a letter, then letters, digits, - and _, 32 at most", c.Param)
	}
}

var (
	prefixForm = regexp.MustCompile(`^/([A-Za-z0-9._~-]+/)+$`)
	paramForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,31}$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// checkState looks at where things are kept.
func checkState(c *Config, d *decoder) {
	scheme, dir, _ := strings.Cut(c.Store, ":")
	switch {
	case scheme == "postgres" || scheme == "postgresql":
		d.wrong("store", "a ledger in PostgreSQL is not in this version of poe")
	case c.Store != "memory:" && (scheme != "pebble" || dir == ""):
		d.wrong("store", "is not a ledger (write pebble:DIR, or \"memory:\" for one that forgets)") // it may hold a password
	case strings.TrimSpace(dir) != dir:
		d.wrong("store", "has a blank before or behind its folder, and would be another folder than it looks like")
	}
	for key, path := range map[string]string{
		"store": c.Store, "keys": c.Keys, "high_water": c.HighWater, "jwks": c.JWKS, "tls_cert": c.TLSCert, "tls_key": c.TLSKey, "admin_token_file": c.AdminTokenFile,
	} {
		if strings.ContainsFunc(path, unseen) {
			d.wrong(key, "has a line break or another character that nobody sees, and is another path than it looks like")
		}
	}
	if ledger.KeysAreHighWater(c.Store, c.Keys, c.HighWater) {
		key := "high_water"
		if c.HighWater == "" {
			key = "keys"
		}
		d.wrong(key, "keys and high_water are one file, and each would be written over by the other")
	}
	if c.Store == "memory:" && c.HighWater != "" {
		d.wrong("high_water", "is here for a ledger that forgets everything")
	}
}

// unseen tells whether a character has no look of its own, such as the line break at the end of a secret.
func unseen(r rune) bool { return !unicode.IsPrint(r) }

// checkLimits looks at sizes, times and counts. None of them may be nothing, since nothing would have to mean either
// "no limit" or "not at all", and both are traps.
func checkLimits(c *Config, d *decoder) {
	for _, size := range []struct {
		key string
		n   Size
	}{{"max_body", c.MaxBody}, {"max_response", c.MaxResponse}, {"spool", c.Spool}, {"front", c.Front}} {
		if size.n <= 0 {
			d.wrong(size.key, "must be more than nothing")
		}
	}
	if d.has("min_free") && c.MinFree <= 0 {
		d.wrong("min_free", "must be more than nothing: a disk that is full ends the process")
	}
	if c.Spool < c.MaxBody {
		d.wrong("spool", "%s is less than one request may have (max_body, %s)", c.Spool, c.MaxBody)
	}
	for _, limit := range []struct {
		key string
		d   time.Duration
	}{{"upstream_timeout", c.UpstreamTimeout}, {"max_wait", c.MaxWait}, {"grace", c.Grace}} {
		if limit.d < time.Millisecond {
			d.wrong(limit.key, "must be a millisecond at least")
		}
	}
	if c.MaxRunning <= 0 {
		d.wrong("max_running", "must be at least 1")
	}
	if c.MaxConnections < 0 || d.has("max_connections") && c.MaxConnections == 0 {
		d.wrong("max_connections", "must be at least 1")
	}
	if c.Workers <= 0 {
		d.wrong("workers", "must be at least 1")
	}
}

// checkLog looks at how the log is written.
func checkLog(c *Config, d *decoder) {
	oneOf(d, "log_format", c.LogFormat, "json", "text")
	oneOf(d, "log_level", c.LogLevel, "debug", "info", "warn", "error")
}

// oneOf wants one of the words.
func oneOf(d *decoder, path, word string, words ...string) {
	if !slices.Contains(words, word) {
		d.wrong(path, "%q is none of %s", word, strings.Join(words, ", "))
	}
}

// A life is how long an action's URI and memory last.
type life struct{ ttl, retention time.Duration }

// checkLife wants times that an action's id can hold; it carries the days that its record is kept.
func checkLife(d *decoder, path string, l life) {
	ttl, retention := path == "" || d.has(path+"ttl"), path == "" || d.has(path+"retention")
	if !ttl && (!retention || d.isWrong("ttl")) || !retention && d.isWrong("retention") {
		return // inherited, and told there
	}
	if l.ttl < time.Second {
		d.wrong(path+"ttl", "must be a second at least")
	}
	if l.retention < time.Second {
		d.wrong(path+"retention", "must be a second at least")
	}
	const longest = store.MaxDays*store.Day - skew
	tooLong := l.retention > min(longest/2, longest-max(l.ttl, 0)) // a key is known for two of them
	switch {
	case l.ttl > longest, tooLong && l.retention <= longest/2 && !d.has(path+"retention"):
		d.wrong(path+"ttl", "is too long: with retention it can be %d days at most", longest/store.Day)
	case tooLong:
		d.wrong(path+"retention", "is too long: it can be %d days at most, and with ttl %d", longest/2/store.Day, longest/store.Day)
	}
}

// checkRoute looks at what belongs to one route alone.
func checkRoute(r *Route, d *decoder, path string) {
	oneOf(d, path+"consume", r.Consume, "success", "any")
	for i, status := range r.Release {
		if status < 400 || status > 599 {
			d.wrong(fmt.Sprintf("%srelease[%d]", path, i), `%d cannot mean "not done": 400 to 599 can`, status)
		}
	}
	checkPrincipal(d, path+"principal", r.Principal)
	for i, o := range r.Origins {
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(o); err != nil {
			d.wrong(fmt.Sprintf("%sorigins[%d]", path, i), "%q is not an origin (write https://shop.example.com)", o)
		}
	}
	if r.RetryFor < time.Millisecond {
		d.wrong(path+"retry_for", "must be a millisecond at least")
	}
	checkLife(d, path, life{r.TTL, r.Retention})
}

// checkDoors looks at the ways in, and what they need.
func checkDoors(c *Config, r *Route, d *decoder, path string) {
	for i, door := range r.Doors {
		at := fmt.Sprintf("%sdoors[%d]", path, i)
		switch {
		case !slices.Contains(core.Doors(), door):
			d.wrong(at, "door %q is none of %s", door, strings.Join(core.Doors(), ", "))
		case slices.Contains(r.Doors[:i], door):
			d.wrong(at, "door %q is here twice", door)
		case door == "callback" && len(c.Callbacks.Secrets) == 0:
			d.wrong(at, "door %q needs callbacks, with secrets that sign them", door)
		}
	}
	if r.Doors != nil && len(r.Doors) == 0 && r.ClientID == "" && len(r.Unique) == 0 && !r.Async {
		d.wrong(path+"doors", "is empty: nobody could come in")
	}
	for i, name := range r.KeyHeaders {
		if !httpguts.ValidHeaderFieldName(name) {
			d.wrong(fmt.Sprintf("%skey_headers[%d]", path, i), "%q is not the name of a field", name)
		}
	}
	checkContent(d, path, r)
	oneOf(d, path+"repeats", r.Repeats, "answer", "refuse")
	for i, method := range r.FreeOn {
		oneOf(d, fmt.Sprintf("%sfree_on[%d]", path, i), method, http.MethodDelete)
	}
	if len(r.Unique) > 0 && r.Name == "" {
		d.wrong(path+"unique", "needs a name beside it: business keys are those of the name, and without one a change of match would free them all")
	}
	if len(r.FreeOn) > 0 && len(r.Unique) == 0 {
		d.wrong(path+"free_on", "is here without unique: there is nothing to free")
	}
	if r.Authorize != "" && (!strings.HasPrefix(r.Authorize, "/") || strings.ContainsAny(r.Authorize, " #")) {
		d.wrong(path+"authorize", "%q is not a path (write /auth)", r.Authorize)
	}
	if strings.HasPrefix(r.Principal, "jwt:") && c.JWKS == "" {
		d.wrong(path+"principal", "%q needs jwks, the keys to verify tokens with", r.Principal)
	}
}

// checkContent wants places where a request can say something.
func checkContent(d *decoder, path string, r *Route) {
	look := func(at, text string) {
		p, err := content.ParsePlace(text)
		if err != nil {
			d.wrong(at, "%s", strings.TrimPrefix(err.Error(), "place "))
		}
		if name, ok := p.Variable(); ok && !strings.Contains(r.Match, "{"+name+"}") && !strings.Contains(r.Match, "{"+name+":") {
			d.wrong(at, "%q is no variable of the path in match", text)
		}
	}
	if r.KeyHeaders != nil && len(r.KeyHeaders) == 0 && (r.Doors == nil || slices.Contains(r.Doors, "key")) {
		d.wrong(path+"key_headers", "is empty: what comes under a key would be executed again")
	}
	if r.KeyHeaders != nil && r.Doors != nil && !slices.Contains(r.Doors, "key") {
		d.wrong(path+"key_headers", "is here without the door key: what comes under them would be executed again")
	}
	if r.Repeats == "refuse" && r.ClientID == "" {
		d.wrong(path+"repeats", "is here without client_id")
	}
	if r.ClientID != "" {
		look(path+"client_id", r.ClientID)
	}
	for key, list := range map[string][]string{"unique": r.Unique, "compare": r.Compare} {
		for i, text := range list {
			look(fmt.Sprintf("%s%s[%d]", path, key, i), text)
		}
	}
}

// checkCallbacks wants hosts and secrets that can be used. What is wrong with a secret is said without it.
func checkCallbacks(c *Config, d *decoder) {
	b := c.Callbacks
	if len(b.Allow) == 0 && len(b.Secrets) == 0 {
		return
	}
	if _, err := webhook.New(webhook.Config{Allow: b.Allow, Secrets: b.Secrets}); err != nil {
		d.wrong("callbacks", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// checkPrincipal wants a way to tell who is asking.
func checkPrincipal(d *decoder, path, text string) {
	kind, name, named := strings.Cut(text, ":")
	switch {
	case named && kind == "jwt" && name != "":
	case !named && (kind == "none" || kind == "authorization"):
	case named && (kind == "header" || kind == "cookie") && httpguts.ValidHeaderFieldName(name):
	default:
		d.wrong(path, "%q is none of none, authorization, jwt:CLAIM, header:NAME, cookie:NAME", text)
	}
}

// checkMatch wants "POST /path", each method and path once.
func checkMatch(d *decoder, seen map[string]origin, path, match string) {
	if match == "" {
		d.wrong(path, `is missing: say what is protected, e.g. "POST /orders"`)
		return
	}
	methods, template, ok := strings.Cut(match, " ")
	if !ok || template != "*" && !strings.HasPrefix(template, "/") || strings.Contains(template, " ") {
		d.wrong(path, `%q is not a method and a path (write "POST /orders")`, match)
		return
	}
	if err := core.CheckPath(template); err != nil {
		d.wrong(path, "%q: %s", match, err)
		return
	}
	for method := range strings.SplitSeq(methods, ",") {
		if !checkMethod(d, path, method) {
			continue
		}
		one := method + " " + template
		if first, twice := seen[one]; twice {
			d.wrong(path, "%q is protected twice; first at %s", one, first.place)
		}
		seen[one] = d.originOf(path)
	}
}

// checkMethod wants a method that can be made to happen once.
func checkMethod(d *decoder, path, method string) bool {
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	default:
		d.wrong(path, "%q is not a method that can be protected", method)
		return false
	}
}

// checkName wants names that tell routes apart.
func checkName(d *decoder, names map[string]origin, path, name string) {
	if name == "" && !d.has(path) {
		return
	}
	if !nameForm.MatchString(name) {
		d.wrong(path, "%q is not a name: a letter or digit, then letters, digits, dots, - and _, 64 at most", name)
		return
	}
	if first, twice := names[name]; twice {
		d.wrong(path, "%q is the name of two routes; first at %s", name, first.place)
	}
	names[name] = d.originOf(path)
}
