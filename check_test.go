package poe_test

import (
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

// What is wrong with a configuration is told before anything is made on the disk, and nothing is taken that would leave a program with another ledger than it looks like, or
// its clients with addresses that lead nowhere.
func TestMistakesAreToldFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  poe.Config
		says string
	}{
		"a route":                      {poe.Config{Routes: []poe.Route{{Match: "GET /a"}}}, `route "GET /a"`},
		"a time":                       {poe.Config{TTL: 60}, "ttl 60ns"},
		"to be kept for ever":          {poe.Config{TTL: math.MaxInt64, Retention: math.MaxInt64}, "both together can be 4095 days at most"},
		"a retention without an end":   {poe.Config{Retention: math.MaxInt64}, "keeping actions for 2562047h47m16.854775807s"},
		"a timeout":                    {poe.Config{Timeout: 30}, "timeout 30ns is under a millisecond"},
		"a time to wait":               {poe.Config{MaxWait: -1}, "max wait -1ns is under a millisecond"},
		"a callback's timeout":         {poe.Config{Callbacks: &poe.Callbacks{Allow: []string{"a.example"}, Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, Timeout: 20}}, "callback timeout 20ns is under a millisecond"},
		"a prefix with a query":        {poe.Config{Prefix: "/a?b/"}, `prefix "/a?b/"`},
		"an encoded prefix":            {poe.Config{Prefix: "/p%6Fe/"}, "percent-encoding"},
		"a prefix of dots":             {poe.Config{Prefix: "/a/../b/"}, "dot segments"},
		"a prefix with parentheses":    {poe.Config{Prefix: "/p(o)e/"}, `prefix "/p(o)e/"`},
		"a prefix with an apostrophe":  {poe.Config{Prefix: "/p'e/"}, `prefix "/p'e/"`},
		"a prefix with two slashes":    {poe.Config{Prefix: "/a//"}, `prefix "/a//"`},
		"a public URL with a password": {poe.Config{PublicURL: "https://u:hunter2@example.com"}, "public URL"},
		"a public URL with a fragment": {poe.Config{PublicURL: "https://example.com#a"}, "public URL"},
		"a blank":                      {poe.Config{Store: "pebble: ledger"}, "blank"},
		"a line break":                 {poe.Config{Store: "pebble:ledger\n"}, "store has a line break"},
		"another line break":           {poe.Config{HighWater: "mark\n"}, "high water has a line break"},
		"one file for two":             {poe.Config{Store: "pebble:ledger", HighWater: "ledger/keys.json"}, "one file"},
		"a mark of nothing":            {poe.Config{Store: "memory:", HighWater: "mark"}, "forgets"},
		"two mistakes":                 {poe.Config{Store: "pebble: ledger", Spool: -1}, "spool"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			gate, err := poe.Open(t.Context(), tc.cfg)
			if err == nil {
				_ = gate.Close(t.Context())
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it says %v", err)
			}
			if there, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(there) > 0 {
				t.Errorf("there is %q (%v)", there, err)
			}
		})
	}
	for _, prefix := range []string{"/poe/", "/.well-known/poe/", "/a/b/"} {
		gate, err := poe.Open(t.Context(), poe.Config{Store: "memory:", Prefix: prefix})
		if err != nil {
			t.Error(err)
			continue
		}
		_ = gate.Close(t.Context())
	}
}

// Times without an end are what somebody says who wants no limit. What is accepted is executed then, as everything else is.
func TestTimesWithoutAnEnd(t *testing.T) {
	app := http.NewServeMux()
	gate := openGate(t, poe.Config{App: app, Timeout: math.MaxInt64, MaxWait: math.MaxInt64, Routes: []poe.Route{{Match: "POST *", MarkSent: true, RetryFor: math.MaxInt64, RecoverFor: math.MaxInt64}}})
	app.Handle("/", gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })))
	gate.Resume()
	for _, prefer := range []string{"return=representation", "respond-async, wait=20"} {
		if res := ask(app, "POST", "/a", "Idempotency-Key: k-"+prefer[:3], "Prefer: "+prefer); res.StatusCode != http.StatusCreated {
			t.Errorf("%s: %d", prefer, res.StatusCode)
		}
	}
}
