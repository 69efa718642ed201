// Package serve is the server: what it is told, where it listens, how it is put together, and how it stops.
package serve

import (
	"reflect"
	"time"
)

// Config is what a server is told: one YAML file, flags and environment variables in the same words.
//
// The tags are the whole grammar: yaml names the key, usual is the value of a key nobody gave, and help and
// placeholder describe the flag, which is the field's name in lower case with hyphens. Load fills every field;
// a Config put together by hand begins with Defaults.
type Config struct {
	Listen         string   `yaml:"listen" usual:":8080" placeholder:"ADDR" group:"where" help:"Address that clients use."`
	Upstream       string   `yaml:"upstream" placeholder:"URL" group:"where" help:"The application: http://host:port."`
	PublicURL      string   `yaml:"public_url" placeholder:"URL" group:"where" help:"Scheme and host that clients see, for the addresses in problems and callbacks."`
	TrustedProxies []string `yaml:"trusted_proxies" placeholder:"ADDR" group:"where" help:"Proxies in front whose X-Forwarded-For, -Host and -Proto are believed and passed on: addresses or networks (10.0.0.0/8); repeatable."`
	Admin          string   `yaml:"admin" usual:"127.0.0.1:8081" placeholder:"ADDR" group:"where" help:"Address of /healthz, /readyz, /metrics and what operators do; empty: none."`
	AdminTokenFile string   `yaml:"admin_token_file" placeholder:"FILE" group:"where" help:"File with the token that guards it; needed unless it is on loopback."`
	TLSCert        string   `yaml:"tls_cert" name:"tls-cert" placeholder:"FILE" group:"where" help:"Certificate chain, PEM; with --tls-key."`
	TLSKey         string   `yaml:"tls_key" name:"tls-key" placeholder:"FILE" group:"where" help:"Its private key, PEM."`

	Store string `yaml:"store" usual:"pebble:./poe-data" placeholder:"STORE" group:"state" help:"The ledger: pebble:DIR, or memory: to forget."`
	Keys  string `yaml:"keys" placeholder:"FILE" group:"state" help:"Keys that sign POE URIs (poe keys new); empty: in the ledger's folder."`

	HighWater string `yaml:"high_water" placeholder:"FILE" group:"state" help:"Says how far the ledger has come, best on another disk; empty: beside its folder."`

	Protect   []string      `yaml:"protect" sep:";" placeholder:"MATCH" group:"what" help:"Protect only this, e.g. 'POST /orders'; repeatable. Without, and without routes: every POST."`
	Require   bool          `yaml:"require" negatable:"" group:"what" help:"Refuse a protected request without a POE URI or a key (428)."`
	TTL       time.Duration `yaml:"ttl" usual:"1h" placeholder:"TIME" group:"what" help:"How long a POE URI may wait for its POST."`
	Retention time.Duration `yaml:"retention" usual:"720h" placeholder:"TIME" group:"what" help:"How long after that everything about it is remembered."`
	Prefix    string        `yaml:"prefix" usual:"/poe/" placeholder:"PATH" group:"what" help:"Path of poe's own pages."`
	Param     string        `yaml:"param" usual:"poe" placeholder:"NAME" group:"what" help:"Query parameter that carries the token."`

	MaxBody         Size          `yaml:"max_body" usual:"10MiB" placeholder:"SIZE" group:"limits" help:"Largest request; above: 413."`
	MaxResponse     Size          `yaml:"max_response" usual:"32MiB" placeholder:"SIZE" group:"limits" help:"Largest answer that is kept."`
	Spool           Size          `yaml:"spool" usual:"1GiB" placeholder:"SIZE" group:"limits" help:"Disk for what is on its way; full: 503."`
	Front           Size          `yaml:"front" usual:"32MiB" placeholder:"SIZE" group:"limits" help:"Memory for finished actions."`
	MinFree         Size          `yaml:"min_free" placeholder:"SIZE" group:"limits" help:"Must be left on the ledger's disk, or nothing new is taken (503); not given: 1 GiB, or 5 % where that is less."`
	UpstreamTimeout time.Duration `yaml:"upstream_timeout" usual:"30s" placeholder:"TIME" group:"limits" help:"For one execution."`
	MaxWait         time.Duration `yaml:"max_wait" usual:"30s" placeholder:"TIME" group:"limits" help:"Longest Prefer: wait."`
	MaxRunning      int           `yaml:"max_running" usual:"1024" placeholder:"N" group:"limits" help:"Executions at one time of requests whose clients wait; above: 503."`
	MaxConnections  int           `yaml:"max_connections" placeholder:"N" group:"limits" help:"Clients connected at one time; more wait. Not given: 2048, or as many as files may be open for."`
	Grace           time.Duration `yaml:"grace" usual:"30s" placeholder:"TIME" group:"limits" help:"For what still runs after SIGTERM."`

	LogFormat string `yaml:"log_format" usual:"json" placeholder:"json|text" group:"log" help:"How the log is written."`
	LogLevel  string `yaml:"log_level" usual:"info" placeholder:"LEVEL" group:"log" help:"debug, info, warn or error."`

	Workers int `yaml:"workers" usual:"16" placeholder:"N" group:"limits" help:"Accepted actions, and unknown ones in recovery, that are worked on at one time."`

	JWKS string `yaml:"jwks" name:"jwks" placeholder:"FILE" group:"state" help:"Public keys, a JWK Set, that bearer tokens are verified with."`

	JWTAudience string `yaml:"jwt_audience" name:"jwt-audience" placeholder:"NAME" group:"state" help:"Whom such a token must be made for (aud); empty: anybody."`

	Routes    []Route   `yaml:"routes" kong:"-"`
	Callbacks Callbacks `yaml:"callbacks" kong:"-"`
}

// Callbacks says who may be told of outcomes, and with what that is signed. Without secrets nobody is.
type Callbacks struct {
	Allow               []string `yaml:"allow"`                // hosts, such as *.example.com
	Secrets             []string `yaml:"secrets"`              // whsec_…; all sign
	DangerouslyInsecure bool     `yaml:"dangerously_insecure"` // http and private addresses too
}

// Route is one protected kind of request, with its own settings. A field that was not given has what Config says,
// or the value in its tag.
type Route struct {
	Name       string        `yaml:"name"`  // stable; empty: the Match
	Match      string        `yaml:"match"` // "POST /path/{template}", or "POST *"; required
	Doors      []string      `yaml:"doors"` // nil: poe, key, async
	KeyHeaders []string      `yaml:"key_headers"`
	Compare    []string      `yaml:"compare"`
	ClientID   string        `yaml:"client_id"`
	Repeats    string        `yaml:"repeats" usual:"answer"` // answer or refuse
	Unique     []string      `yaml:"unique"`
	FreeOn     []string      `yaml:"free_on"`
	Require    bool          `yaml:"require"`
	Consume    string        `yaml:"consume" usual:"success"` // success or any
	Release    []int         `yaml:"release"`                 // nil: 408, 425, 429
	Async      bool          `yaml:"async"`
	RetryFor   time.Duration `yaml:"retry_for" usual:"1h"`
	Principal  string        `yaml:"principal" usual:"authorization"`
	Authorize  string        `yaml:"authorize"`
	Origins    []string      `yaml:"origins"`
	TTL        time.Duration `yaml:"ttl"`
	Retention  time.Duration `yaml:"retention"`

	MarkSent    bool          `yaml:"mark_sent"`
	Recovery    string        `yaml:"recovery" usual:"hold"` // hold, repeat, probe or compensate
	RecoverFor  time.Duration `yaml:"recover_for" usual:"24h"`
	Probe       string        `yaml:"probe"`        // with recovery: probe
	ProbeFences bool          `yaml:"probe_fences"` // the same
	Compensate  string        `yaml:"compensate"`   // with recovery: compensate
	Compensated string        `yaml:"compensated"`  // the same; refused or unused; empty: refused
}

// everything matches all paths: what is protected where the configuration names nothing.
const everything = "POST *"

// Defaults returns the configuration of a server that was told nothing. Upstream is still missing.
func Defaults() Config {
	var c Config
	setUsual(reflect.ValueOf(&c).Elem())
	return c
}

// Guarded returns the routes that the engine is given, complete: those of Routes in their order, then one for each
// pattern of Protect; where there are neither, one named "default" that protects every POST.
func (c Config) Guarded() []Route {
	routes := make([]Route, 0, len(c.Routes)+len(c.Protect)+1)
	routes = append(routes, c.Routes...)
	for _, match := range c.Protect {
		routes = append(routes, c.plainRoute("", match))
	}
	if len(routes) == 0 {
		routes = append(routes, c.plainRoute("default", everything))
	}
	return routes
}

// plainRoute is a route without settings of its own.
func (c Config) plainRoute(name, match string) Route {
	return c.Usual(Route{Name: name, Match: match, Require: c.Require})
}

// Usual fills the fields of r that were not given, as Load does.
func (c Config) Usual(r Route) Route {
	usual := Route{TTL: c.TTL, Retention: c.Retention}
	setUsual(reflect.ValueOf(&usual).Elem())
	given, all := reflect.ValueOf(r), reflect.ValueOf(&usual).Elem()
	for i := range given.NumField() {
		if !given.Field(i).IsZero() {
			all.Field(i).Set(given.Field(i))
		}
	}
	return usual
}

// setUsual gives every field of a struct the value in its usual tag. The tags are ours: one that cannot be read is a
// defect of this file, which the first test to run would meet.
func setUsual(v reflect.Value) {
	for i := range v.NumField() {
		usual, ok := v.Type().Field(i).Tag.Lookup("usual")
		if !ok {
			continue
		}
		if err := setText(v.Field(i), usual); err != nil {
			panic(err)
		}
	}
}
