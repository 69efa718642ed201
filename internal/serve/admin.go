package serve

import (
	"context"
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
	guarded, health := s.guard(mux), health(s.gate)
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

// A checked gate is whose health is asked for.
type checked interface {
	Ready(ctx context.Context) error
	Notes() []string
}

// readyTime is how long a write may take to be durable before the disk counts as one that does not answer. It is less than poe health waits: whoever asks is to hear the
// reason, and many a prober waits for as long as it takes.
const readyTime = 2 * time.Second

// health answers whether the process lives, and whether it can take work.
func health(gate checked) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n")) // the asker has gone: nothing to undo
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTime)
		defer cancel()
		if err := gate.Ready(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(strings.Join(append([]string{"ready"}, gate.Notes()...), "\n") + "\n"))
	})
	return mux
}
