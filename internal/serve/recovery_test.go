package serve_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postonce/poe/internal/serve"
)

// A forgetful application does what it is asked, and hangs up before it has said so. It recognises the keys of what it has done, tells what it
// did for an action, and takes it back.
type forgetful struct {
	mu   sync.Mutex
	done map[string]string // by action: what was done, guarded by mu
	got  []string          // guarded by mu
}

func (f *forgetful) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, strings.Join([]string{r.Method, r.RequestURI, r.Header.Get("POE-Id"), r.Header.Get("Idempotency-Key"), r.Header.Get("X-Own"), string(body)}, " "))
	id := r.Header.Get("POE-Id")
	switch {
	case strings.HasPrefix(r.URL.Path, "/made/"):
		if what, ok := f.done[strings.TrimPrefix(r.URL.Path, "/made/")]; ok {
			_, _ = io.WriteString(w, what)
			return
		}
		http.NotFound(w, r)
	case strings.HasPrefix(r.URL.Path, "/back/"):
		delete(f.done, strings.TrimPrefix(r.URL.Path, "/back/"))
		w.WriteHeader(http.StatusNoContent)
	case f.done[id] != "":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, f.done[id])
	default:
		f.done[id] = "made of " + string(body)
		panic(http.ErrAbortHandler)
	}
}

func (f *forgetful) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.got...)
}

// Over real connections, with each policy: the client that repeats its request is told in the end what became of it.
func TestRecoveryThroughTheGateway(t *testing.T) {
	for _, tc := range []struct {
		name    string
		route   serve.Route
		code    int
		content string
		sent    []string // ID stands for the action
	}{
		{"repeat", serve.Route{Recovery: "repeat"}, 200, "made of apples",
			[]string{`POST /orders ID "ID.1" x apples`, `POST /orders ID "ID.1" x apples`}},
		{"repeat, marked", serve.Route{Recovery: "repeat", MarkSent: true}, 200, "made of apples",
			[]string{`POST /orders ID "ID.1" x apples`, `POST /orders ID "ID.1" x apples`}},
		{"probe", serve.Route{Recovery: "probe", Probe: "/made/{id}"}, 200, "made of apples",
			[]string{`POST /orders ID "ID.1" x apples`, `GET /made/ID ID   `}},
		{"compensate", serve.Route{Recovery: "compensate", Compensate: "/back/{id}"}, 409, "rolled-back",
			[]string{`POST /orders ID "ID.1" x apples`, `POST /back/ID `}},
		{"hold", serve.Route{}, 202, `"state":"unknown"`, []string{`POST /orders ID "ID.1" x apples`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := &forgetful{done: map[string]string{}}
			app := httptest.NewServer(f)
			defer app.Close()
			cfg := config(t, app.URL)
			tc.route.Name, tc.route.Match = "orders", "POST /orders"
			cfg.Routes = []serve.Route{cfg.Usual(tc.route)}
			s := run(t, cfg)
			uri := mint(t, s.at.URL, "/orders")
			if res, _ := do(t, "POST", uri, "apples", "X-Own: x"); res.StatusCode != 502 {
				t.Fatal(res.StatusCode)
			}
			for deadline := time.Now().Add(time.Minute); tc.name != "hold"; {
				res, _ := do(t, "POST", uri, "apples", "X-Own: x")
				if res.StatusCode == 405 {
					break
				}
				if res.StatusCode != 409 || time.Now().After(deadline) {
					t.Fatalf("%d %v", res.StatusCode, f.requests())
				}
				<-time.After(50 * time.Millisecond)
			}
			res, content := get(t, uri)
			if res.StatusCode != tc.code || !strings.Contains(content, tc.content) {
				t.Errorf("the outcome: %d %q", res.StatusCode, content)
			}
			got := f.requests()
			if len(got) != len(tc.sent) {
				t.Fatalf("%q", got)
			}
			id := strings.Fields(got[0])[2]
			for i, want := range tc.sent {
				if want = strings.ReplaceAll(want, "ID", id); !strings.HasPrefix(got[i], want) {
					t.Errorf("sent %q, want %q", got[i], want)
				}
			}
		})
	}
}
