package core_test

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	core "github.com/postonce/poe/internal/poe"
)

// A known is what the model remembers of a name: how it ended, with which request, and whose it is.
type known struct {
	state  string // "": free; "done" or "unknown"
	status int
	body   string
	who    string
}

// A modelDoor is a door as the model sees it: what a request's name is, and how one is answered whose name is not free.
type modelDoor struct {
	name  string
	scope func(who, n string) string
	send  func(b *bench, who, n, body string) *http.Response
	taken func(k known, who, body string) int // the status of the answer
	frees func(status int) bool               // whether a failure that is an outcome leaves the name free; nil: never
}

func byKeyRules(k known, _, body string) int {
	switch {
	case body != k.body:
		return 422
	case k.state == "unknown":
		return 409
	default:
		return k.status
	}
}

func modelDoors() []modelDoor {
	own := func(who, n string) string { return who + n }
	shared := func(_, n string) string { return n }
	repeats := func(otherBody, other int) func(k known, who, body string) int {
		return func(k known, who, body string) int {
			switch {
			case k.state == "unknown":
				return 409
			case who != k.who:
				return other
			case body != k.body:
				return otherBody
			default:
				return k.status
			}
		}
	}
	return []modelDoor{
		{"key", own, func(b *bench, who, n, body string) *http.Response {
			return b.do("POST", "/keyed", body, who, "Idempotency-Key: "+n)
		}, byKeyRules, nil},
		{"long key", shared, func(b *bench, who, n, body string) *http.Response {
			return b.do("POST", "/keyed", body, who, "Idempotency-Key: "+n+"-0123456789-0123456789-0123456789")
		}, func(k known, who, body string) int {
			if who != k.who {
				return 409
			}
			return byKeyRules(k, who, body)
		}, nil},
		{"repeatable", own, func(b *bench, who, n, body string) *http.Response {
			return b.do("POST", "/repeatable", body, who, "Repeatability-Request-ID: "+n, sentNow)
		}, func(k known, who, body string) int {
			if body != k.body {
				return 400
			}
			return byKeyRules(k, who, body)
		}, nil},
		{"client id", own, func(b *bench, who, n, body string) *http.Response { return b.do("POST", "/clients/"+n, body, who) }, byKeyRules, nil},
		{"unique", shared, func(b *bench, who, n, body string) *http.Response { return b.do("POST", "/unique/"+n, body, who) }, repeats(409, 409), nil},
		{"if-match", shared, func(b *bench, who, n, body string) *http.Response {
			return b.do("PUT", "/tagged/"+n, body, who, `If-Match: "v1"`)
		}, repeats(412, 412), func(status int) bool { return status >= 400 }},
		{"if-none-match", shared, func(b *bench, who, n, body string) *http.Response {
			return b.do("PUT", "/created/"+n, body, who, "If-None-Match: *")
		}, repeats(412, 412), func(status int) bool { return status >= 400 }},
	}
}

func modelConfig(c *core.Config) {
	c.Routes = []core.Route{
		{Name: "keyed", Match: "POST /keyed"},
		{Name: "repeatable", Match: "POST /repeatable", Doors: []string{"repeatability"}},
		{Name: "clients", Match: "POST /clients/{id}", Doors: []string{}, ClientID: "path:id"},
		{Name: "unique", Match: "POST /unique/{id}", Unique: []string{"path:id"}},
		{Name: "tagged", Match: "PUT /tagged/{id}", Doors: []string{"if-match"}},
		{Name: "created", Match: "PUT /created/{id}", Doors: []string{"if-none-match"}},
		{Name: "default", Match: "POST *"},
	}
}

// Random requests through all doors, by two people, with two bodies under few names, to an application that answers this and that, in processes
// that come and go: what is executed, and what is answered, is what a map of names says.
func TestDoorsAgainstAModel(t *testing.T) {
	all := modelDoors()
	rapid.Check(t, func(rt *rapid.T) {
		first := newBench(t, modelConfig)
		b := first
		names := map[string]known{}
		uris := []string{b.mint("/orders"), b.mint("/orders"), b.mint("/orders")}
		executes := func(body, who string, status int, frees bool) known {
			switch {
			case status == 502:
				return known{"unknown", status, body, who}
			case status == 422 || status == 429 || frees:
				return known{}
			default:
				return known{"done", status, body, who}
			}
		}
		draw := func(rt *rapid.T) (who, body string, status int) {
			who = rapid.SampledFrom([]string{alice, bob}).Draw(rt, "who")
			body = rapid.SampledFrom([]string{"apples", "pears"}).Draw(rt, "body")
			status = rapid.SampledFrom([]int{201, 201, 422, 429, 500, 502}).Draw(rt, "status")
			b.app = answering(status)
			return who, body, status
		}
		check := func(rt *rapid.T, what string, res *http.Response, before int64, want int, executed bool) {
			if got := b.executed.Load() - before; res.StatusCode != want || (got == 1) != executed || got > 1 {
				rt.Fatalf("%s: %d, executed %d times; want %d, executed: %v; %v", what, res.StatusCode, got, want, executed, res.Header)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"door": func(rt *rapid.T) {
				d := rapid.SampledFrom(all).Draw(rt, "door")
				who, body, status := draw(rt)
				n := rapid.SampledFrom([]string{"n1", "n2"}).Draw(rt, "name")
				at := d.name + d.scope(who, n)
				k, before := names[at], b.executed.Load()
				res := d.send(b, who, n, body)
				if k.state == "" {
					check(rt, d.name, res, before, status, true)
					names[at] = executes(body, who, status, d.frees != nil && d.frees(status) && status != 502)
					return
				}
				check(rt, d.name, res, before, d.taken(k, who, body), false)
			},
			"uri": func(rt *rapid.T) {
				uri := rapid.SampledFrom(uris).Draw(rt, "uri")
				who, body, status := draw(rt)
				k, before := names[uri], b.executed.Load()
				res := b.do("POST", uri, body, who)
				want := map[string]int{"": status, "done": 405, "unknown": 409}[k.state]
				check(rt, "a URI", res, before, want, k.state == "")
				if k.state == "" {
					names[uri] = executes(body, who, status, false)
				}
			},
			"restart": func(*rapid.T) {
				b = newBench(t, func(c *core.Config) {
					modelConfig(c)
					c.Store, c.Clock, c.Keys, c.Front = first.store, first.clock, first.keys, 1
				})
			},
			"time": func(rt *rapid.T) {
				if first.clock().Sub(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) < 40*time.Minute {
					first.advance(time.Duration(rapid.IntRange(1, 60).Draw(rt, "seconds")) * time.Second)
				}
			},
		})
	})
}
