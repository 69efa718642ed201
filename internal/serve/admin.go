package serve

import (
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin returns the server for operators and their machines: is it alive, can it take work, what does it count, what must a person decide. The
// first two are for everybody who can reach it, since they tell of no action; the rest is guarded.
func (s *server) admin() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.regs, promhttp.HandlerOpts{}))
	profiles(mux)
	s.operate(mux)
	guarded, health := s.guard(mux), s.health()
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/healthz", "/readyz":
				health.ServeHTTP(w, r)
			default:
				guarded.ServeHTTP(w, r)
			}
		}),
		ErrorLog: serverLog(s.opt.Log, s.opt.Clock), MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
	}
}

// profiles serves what the program spends its time and memory on, for go tool pprof. The command line is not among it.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// health answers whether the process lives, and whether it can take work.
func (s *server) health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n")) // the asker has gone: nothing to undo
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.gate.Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(strings.Join(append([]string{"ready"}, s.gate.Notes()...), "\n") + "\n"))
	})
	return mux
}
