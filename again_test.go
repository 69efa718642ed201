package poe_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/postonce/poe"
)

// Requests that are answered from memory use each other's memory. Nothing of one is ever in the answer to another: not while all of them come at once, and not in
// fields that somebody in front looks at when the handler has returned.
func TestAnswersOfOthers(t *testing.T) {
	const actions, rounds, workers = 24, 60, 8
	gate := openGate(t, poe.Config{})
	h := gate.Once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "refused") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	}))
	do := func(method, target, body string) *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
		res := w.Result()
		res.Header = w.Header() // the live one, and no copy
		return res
	}
	var uris, links []string
	for i := range actions {
		m, err := gate.Mint(t.Context(), http.MethodPost, fmt.Sprintf("/orders?n=%d", i))
		if err != nil {
			t.Fatal(err)
		}
		res := do(http.MethodPost, m.URI, fmt.Sprintf("order %d", i))
		if res.StatusCode != http.StatusCreated {
			t.Fatal(res.StatusCode)
		}
		uris, links = append(uris, m.URI), append(links, res.Header.Get("Link"))
	}
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			var earlier []*http.Response
			var of []int
			for round := range rounds {
				i := (worker*7 + round*5) % actions
				own := fmt.Sprintf("order %d", i)
				res := do(http.MethodGet, uris[i], "")
				if body, _ := io.ReadAll(res.Body); string(body) != own {
					t.Errorf("GET of %q: %q", own, body)
				}
				earlier, of = append(earlier, res), append(of, i)
				for body, matches := range map[string]string{own: `"request_matches":true`, "other": `"request_matches":false`} {
					res := do(http.MethodPost, uris[i], body)
					if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(string(said), matches) {
						t.Errorf("POST of %q to %q: %d %s", body, own, res.StatusCode, said)
					}
					earlier, of = append(earlier, res), append(of, i)
				}
				earlier, of = append(earlier, do(http.MethodHead, uris[i], "")), append(of, i)
				fresh, err := gate.Mint(t.Context(), http.MethodPost, "/orders")
				if err != nil {
					t.Error(err)
					return
				}
				for range 2 { // executed, and not done
					if res := do(http.MethodPost, fresh.URI, "refused"); res.StatusCode != http.StatusUnprocessableEntity {
						t.Errorf("refused: %d", res.StatusCode)
					}
				}
			}
			for n, res := range earlier {
				if got := res.Header.Get("Link"); got != links[of[n]] {
					t.Errorf("the link of action %d has become %q", of[n], got)
				}
				if state := res.Header.Get("Poe-State"); !strings.HasPrefix(state, "done;") {
					t.Errorf("the state of action %d has become %q", of[n], state)
				}
			}
		})
	}
	all.Wait()
}

// A handler's field with a line break goes out on one line, as with net/http. Whoever asks later gets it, too.
func TestLineBreakInAField(t *testing.T) {
	gate := openGate(t, poe.Config{})
	server := httptest.NewServer(gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/orders/1\n")
		w.Header().Set("X-Note", "two\r\nSet-Cookie: lines")
		w.WriteHeader(http.StatusCreated)
	})))
	defer server.Close()
	for _, when := range []string{"at first", "again"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/orders", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "k")
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if at, note := res.Header.Get("Location"), res.Header.Get("X-Note"); at != "/orders/1" || note != "two  Set-Cookie: lines" {
			t.Errorf("%s: Location is %q, and X-Note %q", when, at, note)
		}
	}
}
