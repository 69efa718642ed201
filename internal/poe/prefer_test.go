package core_test

import (
	"fmt"
	"net/http"
	"testing"

	core "github.com/postonce/poe/internal/poe"
)

// RFC 7240: names have no case, there may be blanks around =, a list may have empty members, the first of two counts, and what stands beside a preference, such as what other APIs ask for,
// takes nothing from it.
func TestPreferAsOthersWriteIt(t *testing.T) {
	for _, prefer := range []string{
		"respond-async", "Respond-Async", "respond-async, ", `, ,respond-async`, `respond-async, IdType="ImmutableId"`, `IdType="a, b; \"c", respond-async`, `respond-async; x = "y"`,
		"respond-async, wait = 1", "respond-async, foo=10%", "foo, respond-async=1",
	} {
		b := deferring(t, nil)
		if res := b.do("POST", "/orders", "x", "Prefer: "+prefer, "Idempotency-Key: k"); res.StatusCode != 202 {
			t.Errorf("Prefer: %s: %d", prefer, res.StatusCode)
		}
	}
	for _, prefer := range []string{`x="respond-async"`, `x="a, respond-async`, "respond-asynchronous", "x; respond-async", ""} {
		b := deferring(t, nil)
		if res := b.do("POST", "/orders", "x", "Prefer: "+prefer, "Idempotency-Key: k"); res.StatusCode != 201 {
			t.Errorf("Prefer: %s: %d", prefer, res.StatusCode)
		}
	}
}

// An application that honours Prefer too would answer 202 to what we have promised to do, and that would be stored as the outcome. Of everything else it hears.
func TestGrantedPreferencesAreNotPassedOn(t *testing.T) {
	for prefer, want := range map[string]string{
		"Respond-Async": "[]", "wait=10, return=minimal": "[return=minimal]", `IdType="a, b", RESPOND-ASYNC, WAIT = 5, x; y=1`: `[IdType="a, b", x; y=1]`,
	} {
		b := deferring(t, func(c *core.Config) {
			c.Routes = []core.Route{{Name: "o", Match: "POST /orders", Doors: []string{"key", "async"}, Async: true}}
		})
		var got []string
		b.app = func(w http.ResponseWriter, r *http.Request) {
			got = r.Header["Prefer"]
			w.WriteHeader(http.StatusCreated)
		}
		b.do("POST", "/orders", "x", "Prefer: "+prefer, "Idempotency-Key: k")
		b.work()
		if fmt.Sprint(got) != want {
			t.Errorf("Prefer: %s: the application was asked with %q", prefer, got)
		}
	}
}

// RFC 7240, section 3: Preference-Applied says that a preference was honoured; where none was given there is none.
func TestPreferenceAppliedOnlyWherePreferred(t *testing.T) {
	b := deferring(t, func(c *core.Config) {
		c.Routes = []core.Route{{Name: "o", Match: "POST /orders", Doors: []string{"key"}, Async: true}}
	})
	for prefer, want := range map[string]string{"return=minimal": "", "respond-async": "respond-async"} {
		res := b.do("POST", "/orders", "x", "Prefer: "+prefer, "Idempotency-Key: k"+prefer[:1])
		if got := res.Header.Get("Preference-Applied"); res.StatusCode != 202 || got != want {
			t.Errorf("Prefer: %s: %d, Preference-Applied: %s", prefer, res.StatusCode, got)
		}
	}
}
