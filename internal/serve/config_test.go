package serve_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postonce/poe/internal/serve"
)

// whole has every key that there is.
const whole = `
listen: ":9443"
admin: 127.0.0.1:9081
admin_token_file: admin.token
public_url: https://api.example.com
trusted_proxies: [10.0.0.0/8, "::1"]
upstream: http://127.0.0.1:9000
store: pebble:./ledger
keys: ./keys.json
prefix: /once/
param: once
ttl: 2h
retention: 48h
max_body: 1MiB
max_response: 2MB
spool: 3GiB
front: 4096
upstream_timeout: 5s
max_wait: 6s
max_running: 7
grace: 8s
protect: [POST /a, "POST /b/{id}"]
require: true
tls_cert: cert.pem
tls_key: key.pem
log_format: text
log_level: warn
routes:
  - name: orders
    match: POST /orders
    doors: [poe, key, callback]
    key_headers: [Tracking-Id]
    compare: ["json:/amount"]
    client_id: "header:X-Id|lower"
    repeats: refuse
    unique: ["json:/email|lower", "header:X-Tenant"]
    free_on: [DELETE]
    async: true
    retry_for: 5m
    authorize: /auth
    require: false
    consume: any
    release: [429, 503]
    principal: header:X-User
    origins: [https://shop.example.com]
    ttl: 10m
    retention: 24h
    mark_sent: true
    recovery: probe
    recover_for: 2h
    probe: /orders/by-action/{id}
    probe_fences: true
  - match: POST /payments
    recovery: compensate
    compensate: /payments/{id}/back
    compensated: unused
workers: 3
jwks: jwks.json
jwt_audience: https://api.example.com
callbacks:
  allow: ["*.example.com"]
  secrets: [whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA]
  dangerously_insecure: true
`

// parse reads a configuration file, and nothing else.
func parse(file string, text []byte) (serve.Config, error) {
	return serve.Load(serve.Source{File: file, Text: text})
}

func TestParseReadsEveryKey(t *testing.T) {
	got, err := parse("poe.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := serve.Config{
		Listen: ":9443", Admin: "127.0.0.1:9081", AdminTokenFile: "admin.token", PublicURL: "https://api.example.com", TrustedProxies: []string{"10.0.0.0/8", "::1"},
		Upstream: "http://127.0.0.1:9000", Store: "pebble:./ledger", Keys: "./keys.json",
		Prefix: "/once/", Param: "once", TTL: 2 * time.Hour, Retention: 48 * time.Hour,
		MaxBody: 1 << 20, MaxResponse: 2_000_000, Spool: 3 << 30, Front: 4096,
		UpstreamTimeout: 5 * time.Second, MaxWait: 6 * time.Second, MaxRunning: 7, Grace: 8 * time.Second,
		Protect: []string{"POST /a", "POST /b/{id}"}, Require: true, TLSCert: "cert.pem", TLSKey: "key.pem",
		LogFormat: "text", LogLevel: "warn", Workers: 3, JWKS: "jwks.json", JWTAudience: "https://api.example.com",
		Callbacks: serve.Callbacks{Allow: []string{"*.example.com"}, Secrets: []string{"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, DangerouslyInsecure: true},
		Routes: []serve.Route{
			{
				Name: "orders", Match: "POST /orders", Doors: []string{"poe", "key", "callback"}, KeyHeaders: []string{"Tracking-Id"},
				Compare: []string{"json:/amount"}, ClientID: "header:X-Id|lower", Repeats: "refuse", Unique: []string{"json:/email|lower", "header:X-Tenant"},
				FreeOn: []string{"DELETE"}, Async: true, RetryFor: 5 * time.Minute, Authorize: "/auth", Consume: "any", Release: []int{429, 503},
				Principal: "header:X-User", Origins: []string{"https://shop.example.com"},
				TTL: 10 * time.Minute, Retention: 24 * time.Hour,
				MarkSent: true, Recovery: "probe", RecoverFor: 2 * time.Hour, Probe: "/orders/by-action/{id}", ProbeFences: true,
			},
			{
				Match: "POST /payments", Require: true, Consume: "success", Repeats: "answer", RetryFor: time.Hour, Principal: "authorization",
				TTL: 2 * time.Hour, Retention: 48 * time.Hour,
				Recovery: "compensate", RecoverFor: 24 * time.Hour, Compensate: "/payments/{id}/back", Compensated: "unused",
			},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	got, err := parse("poe.yaml", []byte("upstream: http://127.0.0.1:9000"))
	if err != nil {
		t.Fatal(err)
	}
	want := serve.Config{
		Listen: ":8080", Admin: "127.0.0.1:8081", Upstream: "http://127.0.0.1:9000", Store: "pebble:./poe-data",
		Prefix: "/poe/", Param: "poe", TTL: time.Hour, Retention: 720 * time.Hour,
		MaxBody: 10 << 20, MaxResponse: 32 << 20, Spool: 1 << 30, Front: 32 << 20,
		UpstreamTimeout: 30 * time.Second, MaxWait: 30 * time.Second, MaxRunning: 1024, Grace: 30 * time.Second,
		LogFormat: "json", LogLevel: "info", Workers: 16,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want.Upstream = ""
	if diff := cmp.Diff(want, serve.Defaults()); diff != "" {
		t.Errorf("Defaults differ from a file that says nothing (-want +got)\n%s", diff)
	}
}

func TestGuarded(t *testing.T) {
	plain := serve.Route{Consume: "success", Repeats: "answer", RetryFor: time.Hour, Principal: "authorization", TTL: time.Hour, Retention: 720 * time.Hour,
		Recovery: "hold", RecoverFor: 24 * time.Hour}
	with := func(name, match string, require bool) serve.Route {
		r := plain
		r.Name, r.Match, r.Require = name, match, require
		return r
	}
	tests := []struct {
		name, text string
		want       []serve.Route
	}{
		{"nothing: every POST", "", []serve.Route{with("default", "POST *", false)}},
		{"require alone", "require: true", []serve.Route{with("default", "POST *", true)}},
		{"protect", "protect: [POST /a, POST /b]", []serve.Route{with("", "POST /a", false), with("", "POST /b", false)}},
		{"routes come first", "protect: [POST /a]\nroutes: [{match: POST /b, require: true}]",
			[]serve.Route{with("", "POST /b", true), with("", "POST /a", false)}},
		{"a route may say no", "require: true\nroutes: [{match: POST /b, require: false}, {match: POST /c}]",
			[]serve.Route{with("", "POST /b", false), with("", "POST /c", true)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse("poe.yaml", []byte("upstream: http://a\n"+tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Guarded()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestMistakes compares all that is said about the files in testdata with what lies beside them.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parse(filepath.Base(file), text)
			if err == nil {
				t.Fatal("no mistake was found")
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestMistakesOneByOne(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown", "lsten: :80", `p:2:1: there is no key "lsten"`},
		{"hyphens", "max-body: 1", `p:2:1: there is no key "max-body"; "max_body" is meant`},
		{"case", "Listen: 1", `p:2:1: there is no key "Listen"; "listen" is meant`},
		{"later in a route", "routes: [{match: POST /a, forms: true}]", `p:2:27: "forms" is not in this version of poe`},
		{"recovery", "routes: [{match: POST /a, recovery: again}]", `p:2:37: recovery: "again" is none of hold, repeat, probe, compensate`},
		{"recovery for no time", "routes: [{match: POST /a, recover_for: 0s}]", `p:2:40: recover_for: must be a millisecond at least`},
		{"probe without a path", "routes: [{match: POST /a, recovery: probe}]",
			`p:2:37: recovery: probe needs a path of the application (write probe: /orders/probe/{id})`},
		{"a path without probe", "routes: [{match: POST /a, probe: '/x/{id}'}]", `p:2:34: probe: is here without recovery: probe`},
		{"probe without an id", "routes: [{match: POST /a, recovery: probe, probe: /x}]", `p:2:51: probe: "/x" does not say which action: {id} is missing`},
		{"probe of a variable", "routes: [{match: POST /a, recovery: probe, probe: '/x/{id}/{n}'}]", `p:2:51: probe: "/x/{id}/{n}": only {id} is a variable`},
		{"probe elsewhere", "routes: [{match: POST /a, recovery: probe, probe: '//x/{id}'}]",
			`p:2:51: probe: "//x/{id}" is not a path with one slash before it (write /orders/by-action/{id})`},
		{"fences without probe", "routes: [{match: POST /a, probe_fences: true}]", `p:2:41: probe_fences: is here without recovery: probe`},
		{"compensate without a path", "routes: [{match: POST /a, recovery: compensate}]",
			`p:2:37: recovery: compensate needs a path of the application (write compensate: /orders/compensate/{id})`},
		{"a path without compensate", "routes: [{match: POST /a, recovery: repeat, compensate: /x}]", `p:2:57: compensate: is here without recovery: compensate`},
		{"compensated", "routes: [{match: POST /a, recovery: compensate, compensate: /x, compensated: gone}]", `p:2:78: compensated: "gone" is none of refused, unused`},
		{"compensated without it", "routes: [{match: POST /a, compensated: unused}]", `p:2:40: compensated: is here without recovery: compensate`},
		{"door", "routes: [{match: POST /a, doors: [poe, keys]}]", `p:2:40: doors: door "keys" is none of poe, repeatability, key, post-put, if-match, if-none-match, async, callback`},
		{"door twice", "routes: [{match: POST /a, doors: [poe, poe]}]", `p:2:40: doors: door "poe" is here twice`},
		{"door without callbacks", "routes: [{match: POST /a, doors: [callback]}]", `p:2:35: doors: door "callback" needs callbacks, with secrets that sign them`},
		{"callbacks without secrets", "callbacks: {allow: [a.example]}", `p:2:12: callbacks: no secret to sign callbacks with`},
		{"callbacks to anybody", "callbacks: {allow: ['*'], secrets: [whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA]}", `p:2:12: callbacks: callback host "*": must be a name such as hooks.example.com or *.example.com`},
		{"callback secret", "callbacks: {secrets: [hunter2]}", `p:2:12: callbacks: callback secret 1: must be whsec_ and 24 to 64 bytes in base64`},
		{"callbacks' key", "callbacks: {alow: []}", `p:2:13: there is no key "alow"`},
		{"callbacks' value", "callbacks: yes", `p:2:12: callbacks: a text is here where keys and values are wanted`},
		{"key header", "routes: [{match: POST /a, key_headers: ['a b']}]", `p:2:41: key_headers: "a b" is not the name of a field`},
		{"place", "routes: [{name: a, match: POST /a, unique: [email]}]", `p:2:45: unique: "email": must be json:/POINTER, form:NAME, header:NAME or path:NAME`},
		{"unique without a name", "routes: [{match: POST /a, unique: ['json:/a']}]", `p:2:35: unique: needs a name beside it: business keys are those of the name, and without one a change of match would free them all`},
		{"pointer", "routes: [{match: POST /a, client_id: 'json:id'}]", `p:2:38: client_id: "json:id": is not a JSON pointer, such as /email`},
		{"word", "routes: [{match: POST /a, compare: ['json:/a|upper']}]", `p:2:37: compare: "json:/a|upper": the word "upper" is none of lower, trim, squash`},
		{"repeats", "routes: [{match: POST /a, repeats: no}]", `p:2:36: repeats: "no" is none of answer, refuse`},
		{"free on", "routes: [{name: a, match: POST /a, unique: ['json:/a'], free_on: [PUT]}]", `p:2:67: free_on: "PUT" is none of DELETE`},
		{"free nothing", "routes: [{match: POST /a, free_on: [DELETE]}]", `p:2:36: free_on: is here without unique: there is nothing to free`},
		{"authorize", "routes: [{match: POST /a, authorize: auth}]", `p:2:38: authorize: "auth" is not a path (write /auth)`},
		{"retry for", "routes: [{match: POST /a, retry_for: 0s}]", `p:2:38: retry_for: must be a millisecond at least`},
		{"audience without keys", "jwt_audience: a", `p:2:15: jwt_audience: is here without jwks: there are no keys to verify tokens with`},
		{"no such variable", "routes: [{match: 'POST /a/{b}', client_id: 'path:c'}]", `p:2:44: client_id: "path:c" is no variable of the path in match`},
		{"keys without a door", "routes: [{match: POST /a, doors: [poe], key_headers: [X-Key]}]", `p:2:54: key_headers: is here without the door key: what comes under them would be executed again`},
		{"keys under no field", "routes: [{match: POST /a, key_headers: []}]", `p:2:40: key_headers: is empty: what comes under a key would be executed again`},
		{"refused repeats of nothing", "routes: [{match: POST /a, repeats: refuse}]", `p:2:36: repeats: is here without client_id`},
		{"jwt without keys", "routes: [{match: POST /a, principal: 'jwt:sub'}]", `p:2:38: principal: "jwt:sub" needs jwks, the keys to verify tokens with`},
		{"workers", "workers: 0", `p:2:10: workers: must be at least 1`},
		{"no door", "routes: [{match: POST /a, doors: []}]", `p:2:34: doors: is empty: nobody could come in`},
		{"twice", "ttl: 1h\nttl: 2h", `p:3:1: "ttl" is here twice; the first is at p:2:1`},
		{"twice in a route", "routes:\n- match: POST /a\n  match: POST /b", `p:4:3: "match" is here twice; the first is at p:3:3`},
		{"null", "ttl:", `p:2:1: ttl: nothing is here where a value is wanted`},
		{"list for a value", "ttl: [1h]", `p:2:6: ttl: a list is here where a value is wanted`},
		{"mapping for a value", "ttl: {a: 1h}", `p:2:6: ttl: a mapping is here where a value is wanted`},
		{"value for a list", "protect: POST /a", `p:2:10: protect: "POST /a" is here where a list is wanted`},
		{"value for a mapping", "routes: [POST /a]", `p:2:10: routes: "POST /a" is here where keys and values are wanted`},
		{"alias", "ttl: &a 1h", `p:2:6: ttl: an anchor, alias or tag is here where a value is wanted`},
		{"tag", "listen: !!str 80", `p:2:9: listen: an anchor, alias or tag is here where a value is wanted`},
		{"duration", "ttl: 1 hour", `p:2:6: ttl: "1 hour" is not a time (write 90s, 10m, 720h)`},
		{"days", "ttl: 30d", `p:2:6: ttl: "30d" is not a time (write 90s, 10m, 720h)`},
		{"no time", "ttl: 0s", `p:2:6: ttl: must be a second at least`},
		{"negative time", "grace: -1s", `p:2:8: grace: must be a millisecond at least`},
		{"time without room", "upstream_timeout: 1ns", `p:2:19: upstream_timeout: must be a millisecond at least`},
		{"wait without room", "max_wait: 999us", `p:2:11: max_wait: must be a millisecond at least`},
		{"too long", "retention: 100000h", `p:2:12: retention: is too long: it can be 2047 days at most, and with ttl 4094`},
		{"too long a ttl", "ttl: 100000h", `p:2:6: ttl: is too long: with retention it can be 4094 days at most`},
		{"too long with what is usual", "ttl: 98000h", `p:2:6: ttl: is too long: with retention it can be 4094 days at most`},
		{"too long together", "ttl: 98000h\nretention: 720h", `p:3:12: retention: is too long: it can be 2047 days at most, and with ttl 4094`},
		{"a route's ttl that is too long", "routes: [{match: POST /a, ttl: 100000h}]", `p:2:32: ttl: is too long: with retention it can be 4094 days at most`},
		{"too long a ttl, and a route with a retention", "ttl: 100000h\nroutes: [{match: POST /a, retention: 1h}]", `p:2:6: ttl: is too long: with retention it can be 4094 days at most`},
		{"too long, and a route with a ttl", "retention: 100000h\nroutes: [{match: POST /a, ttl: 1h}]", `p:2:12: retention: is too long: it can be 2047 days at most, and with ttl 4094`},
		{"no ttl, and a route with a retention", "ttl: 0s\nroutes: [{match: POST /a, retention: 1h}]", `p:2:6: ttl: must be a second at least`},
		{"overflow", "ttl: 1h\nretention: 2562047h", `p:3:12: retention: is too long: it can be 2047 days at most, and with ttl 4094`},
		{"size", "max_body: lots", `p:2:11: max_body: "lots" is not a size (write 4096, 64KiB, 10MiB, 1GiB)`},
		{"negative size", "max_body: -1", `p:2:11: max_body: "-1" is not a size (write 4096, 64KiB, 10MiB, 1GiB)`},
		{"no size", "front: 0", `p:2:8: front: must be more than nothing`},
		{"huge size", "spool: 9EiB", `p:2:8: spool: "9EiB" is not a size (write 4096, 64KiB, 10MiB, 1GiB)`},
		{"small spool", "spool: 1MiB", `p:2:8: spool: 1.0 MiB is less than one request may have (max_body, 10 MiB)`},
		{"bool", "require: maybe", `p:2:10: require: "maybe" is neither true nor false`},
		{"old bool", "require: yes", `p:2:10: require: "yes" is neither true nor false`},
		{"int", "max_running: many", `p:2:14: max_running: "many" is not a whole number`},
		{"float", "max_running: 1.5", `p:2:14: max_running: "1.5" is not a whole number`},
		{"no connection", "max_connections: 0", `p:2:18: max_connections: must be at least 1`},
		{"fewer connections than none", "max_connections: -1", `p:2:18: max_connections: must be at least 1`},
		{"zero", "max_running: 0", `p:2:14: max_running: must be at least 1`},
		{"address", "listen: 8080", `p:2:9: listen: "8080" is not an address (write :8080 or 127.0.0.1:8080)`},
		{"port", "listen: :99999", `p:2:9: listen: ":99999" is not an address (write :8080 or 127.0.0.1:8080)`},
		{"same address", "listen: :80\nadmin: :80", `p:3:8: admin: ":80" is what listen has (":80"); they must differ`},
		{"all addresses, and one of them", "listen: :8081", `p: admin: "127.0.0.1:8081" is what listen has (":8081"); they must differ`},
		{"one port, in two ways", "listen: :08080\nadmin: 127.0.0.1:8080", `p:3:8: admin: "127.0.0.1:8080" is what listen has (":08080"); they must differ`},
		{"one address, by two names", "listen: localhost:80\nadmin: 127.0.0.1:80", `p:3:8: admin: "127.0.0.1:80" is what listen has ("localhost:80"); they must differ`},
		{"open admin", "admin: :8081", `p:2:8: admin: the admin listener at :8081 can be reached from other machines, and no token guards it: listen on 127.0.0.1 (--admin), ` +
			`or make a token, (umask 077 && head -c 32 /dev/urandom | base64 >admin.token), and name its file with --admin-token-file`},
		{"token without admin", "admin: ''\nadmin_token_file: a", `p:3:19: admin_token_file: is here without admin: there is nothing to guard`},
		{"public url", "public_url: example.com", `p:2:13: public_url: "example.com" is not a URL (write http://host:port)`},
		{"public url's path", "public_url: https://a/b", `p:2:13: public_url: "https://a/b" says more than scheme, host and port`},
		{"public url's password", "public_url: https://a:secret@b", `p:2:13: public_url: "https://a:xxxxx@b" says more than scheme, host and port`},
		{"proxy", "trusted_proxies: [10.0.0.7, proxy.example]", `p:2:29: trusted_proxies: "proxy.example" is neither an address nor a network (write 10.0.0.7 or 10.0.0.0/8)`},
		{"proxy with a port", "trusted_proxies: ['10.0.0.7:80']", `p:2:19: trusted_proxies: "10.0.0.7:80" is neither an address nor a network (write 10.0.0.7 or 10.0.0.0/8)`},
		{"proxy of a zone", "trusted_proxies: ['fe80::1%eth0']", `p:2:19: trusted_proxies: "fe80::1%eth0" is neither an address nor a network (write 10.0.0.7 or 10.0.0.0/8)`},
		{"proxy of both kinds", "trusted_proxies: ['::ffff:10.0.0.7']", `p:2:19: trusted_proxies: "::ffff:10.0.0.7" is an address of IPv4 in the form of IPv6 (write 10.0.0.7 or 10.0.0.0/8)`},
		{"proxies that are no network", "trusted_proxies: [10.0.0.7/8]", `p:2:19: trusted_proxies: "10.0.0.7/8" is no network, since it goes on behind its 8 bits (write 10.0.0.0/8, or the address alone)`},
		{"store", "store: ./data", `p:2:8: store: is not a ledger (write pebble:DIR, or "memory:" for one that forgets)`},
		{"store nowhere", "store: 'pebble:'", `p:2:8: store: is not a ledger (write pebble:DIR, or "memory:" for one that forgets)`},
		{"store with a password", "store: mysql://a:secret@b", `p:2:8: store: is not a ledger (write pebble:DIR, or "memory:" for one that forgets)`},
		// What is another thing than it looks like.
		{"store with a line break", `store: "pebble:/var/lib/poe/ledger\n"`, `p:2:8: store: has a blank before or behind its folder, and would be another folder than it looks like`},
		{"store with a blank", "store: 'pebble: ./poe-data'", `p:2:8: store: has a blank before or behind its folder, and would be another folder than it looks like`},
		{"store with a zero width space", `store: "pebble:./poe\u200b-data"`, `p:2:8: store: has a line break or another character that nobody sees, and is another path than it looks like`},
		{"keys with a line break", `keys: "./k.json\n"`, `p:2:7: keys: has a line break or another character that nobody sees, and is another path than it looks like`},
		{"keys as the high-water file", "keys: ./k.json\nhigh_water: k.json", `p:3:13: high_water: keys and high_water are one file, and each would be written over by the other`},
		{"keys as the usual high-water file", "store: pebble:./a\nkeys: ./a.high-water", `p:3:7: keys: keys and high_water are one file, and each would be written over by the other`},
		{"the usual keys as the high-water file", "store: pebble:./a\nhigh_water: a/keys.json", `p:3:13: high_water: keys and high_water are one file, and each would be written over by the other`},
		{"no room", "min_free: 0", `p:2:11: min_free: must be more than nothing: a disk that is full ends the process`},
		{"size with a comma", "max_response: 1,5GiB", `p:2:15: max_response: "1,5GiB" is not a size (write 4096, 64KiB, 10MiB, 1GiB)`},
		{"match with a zero width space", `protect: ["POST /orders\u200b"]`, `p:2:11: protect: "POST /orders\u200b": it has a character that nobody sees, and is another path than it looks like`},
		{"later store", "store: postgres://a/b", `p:2:8: store: a ledger in PostgreSQL is not in this version of poe`},
		{"prefix", "prefix: poe", `p:2:9: prefix: "poe" is not a path like /poe/: slashes at both ends, between them letters, digits, and - . _ ~, and no segment of dots`},
		{"prefix of dots", "prefix: /../", `p:2:9: prefix: "/../" is not a path like /poe/: slashes at both ends, between them letters, digits, and - . _ ~, and no segment of dots`},
		{"prefix of an encoding", "prefix: /p%6Fe/", `p:2:9: prefix: "/p%6Fe/" is not a path like /poe/: slashes at both ends, between them letters, digits, and - . _ ~, and no segment of dots`},
		{"prefix of all", "prefix: /", `p:2:9: prefix: "/" is not a path like /poe/: slashes at both ends, between them letters, digits, and - . _ ~, and no segment of dots`},
		{"param", "param: a=b", `p:2:8: param: "a=b" is not a name: a letter, then letters, digits, - and _, 32 at most`},
		{"param that begins with a digit", "param: 1x", `p:2:8: param: "1x" is not a name: a letter, then letters, digits, - and _, 32 at most`},
		{"brackets without end", "protect: " + strings.Repeat("[", 500_000), `p:2:110: there are more brackets, or lists, in each other than a configuration has`},
		{"lists without end", strings.Repeat("- ", 50_000) + "a", `p:2:201: there are more brackets, or lists, in each other than a configuration has`},
		{"cert alone", "tls_cert: a", `p:2:11: tls_cert: is here without tls_key`},
		{"key alone", "tls_key: a", `p:2:10: tls_key: is here without tls_cert`},
		{"log format", "log_format: xml", `p:2:13: log_format: "xml" is none of json, text`},
		{"log level", "log_level: loud", `p:2:12: log_level: "loud" is none of debug, info, warn, error`},
		{"match", "protect: [/a]", `p:2:11: protect: "/a" is not a method and a path (write "POST /orders")`},
		{"empty match", "protect: ['']", `p:2:11: protect: is missing: say what is protected, e.g. "POST /orders"`},
		{"no match", "routes: [{name: a}]", `p:2:10: match: is missing: say what is protected, e.g. "POST /orders"`},
		{"query", "protect: ['POST /a?b']", `p:2:11: protect: "POST /a?b": a route is about a path, without a query or a fragment`},
		{"pattern of another router", "protect: ['POST /a/{b...}']", `p:2:11: protect: "POST /a/{b...}": {b...} is not known here: for all that follows write {b:.*}`},
		{"template", "protect: ['POST /{a']", `p:2:11: protect: "POST /{a": unbalanced braces in "/{a"`},
		{"safe method", "protect: ['GET /a']", `p:2:11: protect: "GET" is not a method that can be protected`},
		{"lower case", "protect: ['post /a']", `p:2:11: protect: "post" is not a method that can be protected`},
		{"protected twice", "protect: [POST /a]\nroutes: [{match: POST /a}]", `p:3:18: match: "POST /a" is protected twice; first at p:2:11`},
		{"one name twice", "routes: [{name: a, match: POST /a}, {name: a, match: POST /b}]", `p:2:44: name: "a" is the name of two routes; first at p:2:17`},
		{"name", "routes: [{name: a b, match: POST /a}]", `p:2:17: name: "a b" is not a name: a letter or digit, then letters, digits, dots, - and _, 64 at most`},
		{"empty name", "routes: [{name: '', match: POST /a}]", `p:2:17: name: "" is not a name: a letter or digit, then letters, digits, dots, - and _, 64 at most`},
		{"consume", "routes: [{match: POST /a, consume: all}]", `p:2:36: consume: "all" is none of success, any`},
		{"release", "routes: [{match: POST /a, release: [200]}]", `p:2:37: release: 200 cannot mean "not done": 400 to 599 can`},
		{"principal", "routes: [{match: POST /a, principal: me}]", `p:2:38: principal: "me" is none of none, authorization, jwt:CLAIM, header:NAME, cookie:NAME`},
		{"principal's name", "routes: [{match: POST /a, principal: 'header:'}]", `p:2:38: principal: "header:" is none of none, authorization, jwt:CLAIM, header:NAME, cookie:NAME`},
		{"origin", "routes: [{match: POST /a, origins: [shop]}]", `p:2:37: origins: "shop" is not an origin (write https://shop.example.com)`},
		{"route's ttl", "routes: [{match: POST /a, ttl: 0s}]", `p:2:32: ttl: must be a second at least`},
		// What only the engine knows is said of the place, too, and not by a server that has opened its ledger.
		{"a route behind another", "routes: [{match: POST *}, {match: POST /a}]",
			`p:2:27: routes: "POST /a": it would never see a request: route "POST *" takes them, and is before it`},
		{"protected behind a route", "protect: [POST /a]\nroutes: [{match: POST *}]",
			`p:2:11: protect: "POST /a": it would never see a request: route "POST *" takes them, and is before it`},
		{"nothing comes in", "routes: [{match: POST /a, require: true, doors: [async]}]",
			`p:2:10: routes: "POST /a": require, and no door that names an action: nothing could come in`},
		{"keys for too long", "routes: [{match: POST /a, retention: 70000h}]", `p:2:38: retention: is too long: it can be 2047 days at most, and with ttl 4094`},
		{"authorize with a backslash", `routes: [{match: POST /a, authorize: '/a\b'}]`, `p:2:10: routes: "POST /a": authorize at "/a\\b": must be a path, such as /auth`},
		{"short memory", "retention: 1ms", `p:2:12: retention: must be a second at least`},
		{"short memory of a route", "routes: [{match: POST /a, retention: 1ms}]", `p:2:38: retention: must be a second at least`},
		{"second document", "---\nttl: 1h", `p:3:1: there is a second document; one file is one configuration`},
		{"document after an empty one", "---\n---\nttl: 1h", `p:3:1: there is a second document; one file is one configuration`},
		{"document after a comment alone", "---\n# managed\n---\nrequire: true", `p:4:1: there is a second document; one file is one configuration`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse("p", []byte("upstream: http://a\n"+tt.text))
			var got serve.Mistakes
			if !errors.As(err, &got) {
				t.Fatalf("error is %v, want Mistakes", err)
			}
			if diff := cmp.Diff(tt.want, got.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestUpstream(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"missing in the file", "ttl: 1h", `p: upstream: is missing: say where the application is, e.g. http://127.0.0.1:9000`},
		{"scheme", "upstream: ftp://a", `p:1:11: upstream: "ftp://a" is not a URL (write http://host:port)`},
		{"host", "upstream: http://:80", `p:1:11: upstream: "http://:80" is not a URL (write http://host:port)`},
		{"path", "upstream: http://a/b", `p:1:11: upstream: "http://a/b" says more than scheme, host and port`},
		{"fragment", "upstream: 'http://a#'", `p:1:11: upstream: "http://a" says more than scheme, host and port`},
		{"slash", "upstream: http://a/", ""},
		{"https", "upstream: https://[::1]:443", ""},
		{"poe itself", "upstream: http://localhost\nlisten: :80", `p:1:11: upstream: "http://localhost" is where poe itself listens (listen), and requests would go round in a circle: say where the application is`},
		{"poe itself at one address", "upstream: http://10.0.0.7:8080\nlisten: 10.0.0.7:8080",
			`p:1:11: upstream: "http://10.0.0.7:8080" is where poe itself listens (listen), and requests would go round in a circle: say where the application is`},
		{"poe itself at a port with a zero", "upstream: http://127.0.0.1:08080", `p:1:11: upstream: "http://127.0.0.1:08080" is where poe itself listens (listen), and requests would go round in a circle: say where the application is`},
		{"poe itself, at no address", "upstream: http://0.0.0.0:8080", `p:1:11: upstream: "http://0.0.0.0:8080" is where poe itself listens (listen), and requests would go round in a circle: say where the application is`},
		{"poe itself, at no address of IPv6", "upstream: 'http://[::]:8080'", `p:1:11: upstream: "http://[::]:8080" is where poe itself listens (listen), and requests would go round in a circle: say where the application is`},
		{"poe's admin listener", "upstream: http://127.0.0.1:8081", `p:1:11: upstream: "http://127.0.0.1:8081" is where poe itself listens (admin), and requests would go round in a circle: say where the application is`},
		{"another machine", "upstream: http://10.0.0.7:8080", ""},
		{"another address of this one", "upstream: http://127.0.0.2:8080\nlisten: 127.0.0.1:8080", ""},
		{"the other loopback", "upstream: 'http://[::]:8080'\nlisten: 127.0.0.1:8080", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if _, err := parse("p", []byte(tt.text)); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestGivenBeatsTheFile(t *testing.T) {
	src := serve.Source{
		File: "p",
		Text: []byte("ttl: nonsense\nretention: 0s\nprotect: [GET /a, {}]\nmax_body: lots\nupstream: http://a\nrequire: true\nroutes: [{match: POST /b}]"),
		Given: []serve.Given{
			{Key: "ttl", From: "--ttl", Value: 5 * time.Minute},
			{Key: "protect", From: "POE_PROTECT", Value: []string{"POST /c"}},
			{Key: "require", From: "--no-require", Value: false},
			{Key: "grace", From: "POE_GRACE", Value: time.Duration(0)},
			{Key: "log_level", From: "--log-level", Value: "loud"},
		},
	}
	c, err := serve.Load(src)
	want := serve.Mistakes{
		{Where: "POE_GRACE", Text: "must be a millisecond at least"},
		{Where: "--log-level", Text: `"loud" is none of debug, info, warn, error`},
		{Where: "p:2:12", Text: "retention: must be a second at least"},
		{Where: "p:4:11", Text: `max_body: "lots" is not a size (write 4096, 64KiB, 10MiB, 1GiB)`},
	}
	var got serve.Mistakes
	if !errors.As(err, &got) {
		t.Fatalf("error is %v, want Mistakes", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if c.TTL != 5*time.Minute || c.Require || c.Routes[0].Require || c.Routes[0].TTL != 5*time.Minute {
		t.Errorf("what was given did not reach the configuration and its routes: %+v", c)
	}
	if diff := cmp.Diff([]string{"POST /c"}, c.Protect); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestGivenIsNamedInMistakesAboutItsItems(t *testing.T) {
	_, err := serve.Load(serve.Source{Given: []serve.Given{
		{Key: "protect", From: "--protect", Value: []string{"POST /a", "nonsense"}},
		{Key: "trusted_proxies", From: "POE_TRUSTED_PROXIES", Value: []string{"10.0.0.7", "shop"}},
	}})
	want := `upstream: is missing: say where the application is, e.g. http://127.0.0.1:9000
POE_TRUSTED_PROXIES: "shop" is neither an address nor a network (write 10.0.0.7 or 10.0.0.0/8)
--protect: "nonsense" is not a method and a path (write "POST /orders")`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestCheck(t *testing.T) {
	c := serve.Defaults()
	c.Upstream = "http://127.0.0.1:9000"
	if err := c.Check(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	var zero serve.Config
	var got serve.Mistakes
	if err := zero.Check(); !errors.As(err, &got) || len(got) < 10 {
		t.Errorf("an empty Config passes: %v", err)
	}
}

func TestAbsentSettings(t *testing.T) {
	for _, text := range []string{"", "# nothing but a comment", "---\n", "\n\n"} {
		_, err := parse("p", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "p: upstream: is missing") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A route that accepts every request needs no door.
func TestNoDoorsAndAsync(t *testing.T) {
	c, err := parse("p", []byte("upstream: http://a\nroutes: [{match: POST /a, doors: [], async: true}]"))
	if err != nil || !c.Routes[0].Async || len(c.Routes[0].Doors) != 0 {
		t.Errorf("%v, %+v", err, c.Routes)
	}
}

// Listeners with ports of their own, or with addresses of their own at one port, do not meet.
func TestListenersApart(t *testing.T) {
	for _, text := range []string{"listen: :0\nadmin: 127.0.0.1:0", "listen: 10.0.0.7:80\nadmin: 127.0.0.1:80", "listen: '[::1]:80'\nadmin: 127.0.0.1:80", "listen: :80\nadmin: ''"} {
		if _, err := parse("p", []byte("upstream: http://a\n"+text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What a Go program may have its own pages below, a server may, too.
func TestHiddenPrefix(t *testing.T) {
	for _, prefix := range []string{"/.well-known/poe/", "/a/..b/"} {
		if c, err := parse("p", []byte("upstream: http://a\nprefix: "+prefix)); err != nil || c.Prefix != prefix {
			t.Errorf("%v, %q", err, c.Prefix)
		}
	}
}

func TestByteOrderMark(t *testing.T) {
	c, err := parse("p", []byte("\ufeffupstream: http://a\nlisten: :81"))
	if err != nil || c.Upstream != "http://a" || c.Listen != ":81" {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestTooLongFile(t *testing.T) {
	_, err := parse("p", []byte(strings.Repeat("#", 1<<20+1)))
	if err == nil || !strings.HasPrefix(err.Error(), "p: is longer than 1048576 bytes") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	for _, seed := range []string{
		"", "---", "a: &b [*b]", "? a\n: b", "routes: [{", "<<: {ttl: 1h}", "routes:\n- - -", "ttl: |\n  1h", "%YAML 9", "\x00", "a: !!binary x",
		"protect: [POST /{a:[}]", "protect: ['POST /{a:(}']", "ttl: 'x", "\"\\u", "{}: 1", "[]: 1", "- a", "routes: [null]", "? {a: b}\n: c",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse("p", text)
		var mistakes serve.Mistakes
		switch {
		case err == nil:
			if again := c.Check(); again != nil {
				t.Errorf("what Parse lets through Check refuses: %v", again)
			}
		case !errors.As(err, &mistakes) || len(mistakes) == 0:
			t.Errorf("error is %v, want Mistakes", err)
		}
	})
}

// No mistake shows a secret that stands in the file, wherever it stands.
func TestMistakesShowNoSecret(t *testing.T) {
	const secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	for _, text := range []string{
		"callbacks:\n  allow: [a]\n  secrets: " + secret, "callbacks:\n  allow: [a]\n  secrets: hunter2-" + secret[6:], "callbacks: " + secret, "callbacks: [" + secret + "]",
		"callbacks:\n  allow: [" + secret + "]\n  secrets: [" + secret + "]", "callbacks:\n  " + secret + ": x", "ttl: " + secret, secret + ": 1",
		"callbacks:\n  allow: [a]\n  secrets: [" + secret + "\nlisten: :80", "callbacks:\n  allow: [a]\n  secrets: {a: " + secret + "}",
	} {
		_, err := parse("p", []byte("upstream: http://a\n"+text+"\n"))
		if err == nil || strings.Contains(err.Error(), secret[6:]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
