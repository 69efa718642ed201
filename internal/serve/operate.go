package serve

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"

	core "github.com/postonce/poe/internal/poe"
)

// operate adds what a person may do to a running server: see the callbacks that could not be delivered, send one again, give back what an
// action guards.
func (s *server) operate(mux *http.ServeMux) {
	mux.Handle("GET /callbacks", byPerson(func(w http.ResponseWriter, r *http.Request) error {
		all, err := s.gate.UndeliveredCallbacks(r.Context())
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(map[string]any{"undelivered": all})
	}))
	mux.Handle("POST /callbacks/{id}/retry", byPerson(func(w http.ResponseWriter, r *http.Request) error {
		err := s.gate.Redeliver(r.Context(), r.PathValue("id"), "operator")
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	}))
	mux.Handle("POST /clock/confirm", byPerson(func(w http.ResponseWriter, _ *http.Request) error {
		s.opt.Log.Warn().Time("clock", s.opt.Clock()).Msg("somebody has confirmed the clock")
		s.gate.ConfirmClock()
		w.WriteHeader(http.StatusNoContent)
		return nil
	}))
	mux.Handle("POST /backup", byPerson(s.serveBackup))
	mux.Handle("POST /actions/{id}/free", byPerson(func(w http.ResponseWriter, r *http.Request) error {
		err := s.gate.Free(r.Context(), r.PathValue("id"), "operator")
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
		return err
	}))
}

// byPerson guards what changes something, or tells of actions, from pages in a browser on the same machine: those of other
// origins, and those whose name was made to lead here.
func byPerson(do func(http.ResponseWriter, *http.Request) error) http.Handler {
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if host != "localhost" && net.ParseIP(host) == nil {
			http.Error(w, "ask by address, or as localhost", http.StatusForbidden)
			return
		}
		switch err := do(w, r); {
		case err == nil:
		case errors.Is(err, core.ErrNotUndelivered), errors.Is(err, core.ErrNoAction):
			http.Error(w, err.Error(), http.StatusNotFound)
		default:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return http.NewCrossOriginProtection().Handler(guarded)
}
