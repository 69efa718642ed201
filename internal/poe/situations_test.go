package core_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	core "github.com/postonce/poe/internal/poe"
)

const (
	alice = "Authorization: Basic YWxpY2U6MQ=="
	bob   = "Authorization: Basic Ym9iOjE="
)

// A wanted is what a second request is to get.
type wanted struct {
	code    int
	problem string // "": the stored answer, or one of the application's
	again   bool   // it is executed, as an action of its own
}

var (
	replayed = wanted{code: 201}
	anew     = wanted{code: 201, again: true}
)

func refusedAs(code int, problem string) wanted { return wanted{code: code, problem: problem} }

// A situation is how a door answers the second of two requests, by what became of the first. The first one is that of alice on
// the route /orders, with the body apples. The route /others has the same doors.
type situation struct {
	door    string
	change  func(*core.Config) // nil: nothing
	method  string             // "": POST
	target  string             // "": /orders
	fields  []string
	fresh   bool // each request has a POE URI of its own
	reserve bool // all requests have one that alice got by an empty POST

	running, done, unknown, otherBody, otherBodyRunning, otherPrincipal, otherRoute wanted
}

func (x situation) send(b *bench, target, body string, fields ...string) *http.Response {
	method := x.method
	if method == "" {
		method = "POST"
	}
	fields = append(fields, x.fields...)
	if x.reserve {
		target = strings.Replace(b.reserved(), "/orders", target, 1)
	}
	if x.fresh {
		target = b.issueOf(method, target, fields...).URI
	}
	return b.do(method, target, body, fields...)
}

// reserved is the address that alice was given for an empty POST.
func (b *bench) reserved() string {
	b.t.Helper()
	if b.reservation == "" {
		res := b.do("POST", "/orders", "", alice)
		if b.reservation = res.Header.Get("Location"); res.StatusCode != 201 || b.reservation == "" {
			b.t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
	}
	return b.reservation
}

func (x situation) bench(t *testing.T) *bench {
	t.Helper()
	return newBench(t, func(c *core.Config) {
		if x.change != nil {
			x.change(c)
		}
	})
}

func (w wanted) check(t *testing.T, b *bench, res *http.Response, before int64) {
	t.Helper()
	switch {
	case w.problem != "":
		p := wantProblem(t, res, w.code, w.problem)
		if p["title"] == "" || p["retry"] == "" {
			t.Errorf("%v", p)
		}
	case res.StatusCode != w.code:
		t.Fatalf("got %d %v %s, want %d", res.StatusCode, res.Header, text(t, res), w.code)
	case strings.HasSuffix(res.Header.Get("POE-State"), ";replayed") == w.again:
		t.Errorf("POE-State: %s", res.Header.Get("POE-State"))
	}
	want := before
	if w.again {
		want++
	}
	if n := b.executed.Load(); n != want {
		t.Errorf("executed %d times, want %d", n, want)
	}
}

// run tries all situations of a door.
func (x situation) run(t *testing.T) {
	target, other := x.target, "/others"
	if target == "" {
		target = "/orders"
	}
	if target != "/orders" {
		other += strings.TrimPrefix(target, "/orders")
	}
	byAnother := anew
	if x.reserve {
		byAnother = x.otherPrincipal // the URI is alice's
	}
	t.Run("running", func(t *testing.T) { x.whileRunning(t, target, "apples", x.running) })
	t.Run("running, another body", func(t *testing.T) { x.whileRunning(t, target, "pears", x.otherBodyRunning) })
	t.Run("waiting", func(t *testing.T) {
		b := x.bench(t)
		entered, leave := b.stopped()
		var first, second *http.Response
		var all sync.WaitGroup
		all.Go(func() { first = x.send(b, target, "apples", alice) })
		<-entered
		all.Go(func() { second = x.send(b, target, "apples", alice, "Prefer: wait=20") })
		b.untilWaiting()
		close(leave)
		all.Wait()
		if first.StatusCode != 201 {
			t.Fatalf("the first: %d", first.StatusCode)
		}
		x.done.check(t, b, second, 1)
	})
	for _, tc := range []struct {
		name   string
		answer int
		target string
		body   string
		who    string
		want   wanted
	}{
		{"done", 201, target, "apples", alice, x.done},
		{"unknown", 502, target, "apples", alice, x.unknown},
		{"another body", 201, target, "pears", alice, x.otherBody},
		{"another principal", 201, target, "apples", bob, x.otherPrincipal},
		{"another route", 201, other, "apples", alice, x.otherRoute},
		{"not done before", 422, target, "pears", alice, anew},
		{"not done before, by another", 429, target, "pears", bob, byAnother},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := x.bench(t)
			b.app = answering(tc.answer)
			first := x.send(b, target, "apples", alice)
			if first.StatusCode != tc.answer || first.Header.Get("POE-State") == "" {
				t.Fatalf("the first: %d %v %s", first.StatusCode, first.Header, text(t, first))
			}
			b.app = answering(201)
			tc.want.check(t, b, x.send(b, tc.target, tc.body, tc.who), 1)
		})
	}
}

func (x situation) whileRunning(t *testing.T, target, body string, want wanted) {
	t.Helper()
	b := x.bench(t)
	entered, leave := b.stopped()
	var first *http.Response
	var all sync.WaitGroup
	all.Go(func() { first = x.send(b, target, "apples", alice) })
	<-entered
	second := x.send(b, target, body, alice)
	want.check(t, b, second, 1)
	if want.problem == "running" && second.Header.Get("Retry-After") == "" {
		t.Error("running, without Retry-After")
	}
	close(leave)
	all.Wait()
	if first.StatusCode != 201 {
		t.Fatalf("the first: %d", first.StatusCode)
	}
}

// stopped makes the application wait in its first request, until leave is closed.
func (b *bench) stopped() (entered, leave chan struct{}) {
	entered, leave = make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.app = func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(entered) })
		<-leave
		w.WriteHeader(http.StatusCreated)
	}
	return entered, leave
}

// untilWaiting returns when a request waits for another.
func (b *bench) untilWaiting() {
	for core.Waiting(b.gate) == 0 {
		select {
		case <-b.t.Context().Done():
			b.t.Fatal("nobody waits")
		default:
		}
	}
}

// doors makes two routes, /orders and /others, with those doors.
func doors(words ...string) func(*core.Config) {
	return func(c *core.Config) {
		c.Routes = []core.Route{
			{Name: "orders", Match: "POST,PUT,PATCH,DELETE /orders{rest:.*}", Doors: words},
			{Name: "others", Match: "POST,PUT,PATCH,DELETE /others{rest:.*}", Doors: words},
		}
	}
}
