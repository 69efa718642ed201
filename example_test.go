package poe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/postonce/poe"
)

// An order is taken once, however often its POST arrives, and everybody who asks later is led to the first answer.
func Example() {
	ctx := context.Background()
	gate, err := poe.Open(ctx, poe.Config{Store: "memory:"}) // "pebble:./poe-data" outlives the process
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shut(gate)

	taken := 0
	orders := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		taken++
		w.Header().Set("Location", "/orders/1")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "order %d", taken)
	})
	site := http.NewServeMux()
	site.Handle("/poe/", gate)
	site.Handle("/orders", gate.Once(orders))

	uri := askForURI(site, "/orders")
	show(send(site, "POST", uri, "three apples"))
	again := send(site, "POST", uri, "three apples")
	fmt.Println(again.StatusCode, again.Header.Get("Allow"))
	show(send(site, "GET", uri, ""))
	fmt.Println("orders taken:", taken)

	// Output:
	// 201 order 1
	// 405 GET, HEAD
	// 200 order 1
	// orders taken: 1
}

// A page that is made on the server brings its own POE URI, so that its form needs no script to be safe: reloading the page
// after submitting it, or pressing the button twice, orders once.
func ExampleGate_Mint() {
	gate, err := poe.Open(context.Background(), poe.Config{Store: "memory:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shut(gate)

	form := template.Must(template.New("form").Parse(`<form method="post" action="{{.URI}}">`))
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, "thank you")
			return
		}
		fresh, err := gate.Mint(r.Context(), http.MethodPost, "/orders")
		if err != nil {
			http.Error(w, "no link can be made", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Cache-Control", "no-store") // two people with one URI would be one order
		_ = form.Execute(w, fresh)                  // the reader has gone: nothing to undo
	})
	site := http.NewServeMux()
	site.Handle("/poe/", gate)
	site.Handle("/orders", gate.Once(orders))

	page := text(send(site, "GET", "/orders", ""))
	action, _, _ := strings.Cut(strings.TrimPrefix(page, `<form method="post" action="`), `"`)
	action = strings.ReplaceAll(action, "&amp;", "&") // as a browser reads it
	fmt.Println("the form leads to", strings.SplitAfter(action, "?poe=")[0]+"…")
	show(send(site, "POST", action, "apples=3"))
	fmt.Println(send(site, "POST", action, "apples=3").Status)

	// Output:
	// the form leads to /orders?poe=…
	// 200 thank you
	// 405 Method Not Allowed
}

// The id of the action is the same for every attempt. A handler that writes it beside what it does, under a unique index, can
// be asked later whether an action of unknown outcome was done.
func ExampleActionID() {
	gate, err := poe.Open(context.Background(), poe.Config{
		Store:  "memory:",
		Routes: []poe.Route{{Match: "POST /accounts/{name}/payments"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shut(gate)

	pay := func(w http.ResponseWriter, r *http.Request) {
		id := poe.ActionID(r.Context())
		fmt.Println("paying from", mux.Vars(r)["name"], "under an id:", id != "")
		if r.Header.Get("POE-Id") != id {
			fmt.Println("POE-Id says something else")
		}
		w.WriteHeader(http.StatusNoContent)
	}
	site := mux.NewRouter()
	site.PathPrefix("/poe/").Handler(gate)
	site.Handle("/accounts/{name}/payments", gate.Once(http.HandlerFunc(pay)))

	uri := askForURI(site, "/accounts/ann/payments")
	fmt.Println(send(site, "POST", uri, "12.50").StatusCode)

	// Output:
	// paying from ann under an id: true
	// 204
}

// A program that keeps POE-Id beside what it does can be asked what became of an action whose end is unknown: here of one whose handler
// panicked after it had taken the order. The client that repeats its request is led to the order, and none is taken twice.
func ExampleRoute_recover() {
	taken := map[string]string{} // order by action, as a database has it under a unique index
	var mu sync.Mutex
	find := func(_ context.Context, a poe.Unresolved) (poe.Resolution, error) {
		mu.Lock()
		defer mu.Unlock()
		order, ok := taken[a.ID]
		if !ok {
			return poe.Resolution{}, nil // its transaction may still commit: ask again later
		}
		return poe.Resolution{State: poe.WasDone, Status: http.StatusCreated, Header: http.Header{"Location": {order}}}, nil
	}
	gate, err := poe.Open(context.Background(), poe.Config{
		Store:  "memory:",
		Routes: []poe.Route{{Match: "POST /orders", Recover: find}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shut(gate)

	site := http.NewServeMux()
	site.Handle("/poe/", gate)
	site.Handle("/orders", gate.Once(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		taken[poe.ActionID(r.Context())] = "/orders/" + strconv.Itoa(len(taken)+1)
		panic(http.ErrAbortHandler) // before anybody was told
	})))

	uri := askForURI(site, "/orders")
	fmt.Println(sendTorn(site, uri))
	for {
		res := send(site, "POST", uri, "three apples")
		state, _, _ := strings.Cut(res.Header.Get("POE-State"), ";")
		if state == "unknown" {
			<-time.After(100 * time.Millisecond) // a client waits as Retry-After says
			continue
		}
		fmt.Println(res.StatusCode, state)
		break
	}
	fmt.Println(send(site, "GET", uri, "").Header.Get("Location"))

	// Output:
	// 502 unknown
	// 405 done
	// /orders/1
}

// The wrong way: a pattern with a method keeps everything but that method away from the Gate. The POST works, and then
// nobody can see what became of it: the POE URI itself answers with the router's 405, which names POST as the thing to do.
func ExampleGate_Once_wrongPattern() {
	gate, err := poe.Open(context.Background(), poe.Config{Store: "memory:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shut(gate)

	orders := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "order 1") })
	site := http.NewServeMux()
	site.Handle("/poe/", gate)
	site.Handle("POST /orders", gate.Once(orders)) // wrong: "/orders" is right

	uri := askForURI(site, "/orders")
	show(send(site, "POST", uri, ""))
	look := send(site, "GET", uri, "")
	fmt.Printf("%d, Allow: %s, POE-State: %q\n", look.StatusCode, look.Header.Get("Allow"), look.Header.Get("POE-State"))

	// Output:
	// 200 order 1
	// 405, Allow: POST, POE-State: ""
}

// Another wrong way: what runs in front of Once runs with every repeat. Here a middleware charges the card, and only the
// handler behind it is protected.
func ExampleGate_Once_wrongOrder() {
	gate, err := poe.Open(context.Background(), poe.Config{Store: "memory:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shut(gate)

	charged := 0
	charging := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				charged++
			}
			next.ServeHTTP(w, r)
		})
	}
	orders := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "order 1") })
	site := http.NewServeMux()
	site.Handle("/poe/", gate)
	site.Handle("/wrong", charging(gate.Once(orders)))
	site.Handle("/right", gate.Once(charging(orders)))

	for _, target := range []string{"/wrong", "/right"} {
		charged = 0
		uri := askForURI(site, target)
		for range 3 {
			send(site, "POST", uri, "")
		}
		fmt.Println(target, "charged", charged)
	}

	// Output:
	// /wrong charged 3
	// /right charged 1
}

// askForURI asks for a POE URI as a client does.
func askForURI(site http.Handler, target string) string {
	var minted struct {
		URIs []poe.Minted `json:"uris"`
	}
	res := send(site, "GET", "/poe/new?for="+target, "")
	if err := json.NewDecoder(res.Body).Decode(&minted); err != nil || len(minted.URIs) != 1 {
		fmt.Println("no POE URI:", res.Status, err)
		return target
	}
	return minted.URIs[0].URI
}

// send makes one request to site and returns the answer.
func send(site http.Handler, method, target, body string) *http.Response {
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w.Result()
}

// sendTorn makes a request whose handler panics, and says what its client was told.
func sendTorn(site http.Handler, uri string) string {
	w := httptest.NewRecorder()
	func() {
		defer func() { _ = recover() }() // as a server of net/http does
		site.ServeHTTP(w, httptest.NewRequest(http.MethodPost, uri, strings.NewReader("three apples")))
	}()
	state, _, _ := strings.Cut(w.Result().Header.Get("POE-State"), ";")
	return strconv.Itoa(w.Code) + " " + state
}

func text(res *http.Response) string {
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func show(res *http.Response) { fmt.Println(res.StatusCode, text(res)) }

func shut(gate *poe.Gate) {
	if err := gate.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
