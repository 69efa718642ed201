package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	core "github.com/postonce/poe/internal/poe"
)

// operate adds what a person may do to a running server: see actions and decide about those of which nobody knows, give back what an action
// guards, see the callbacks that could not be delivered and send one again.
func (s *server) operate(mux *http.ServeMux) {
	mux.Handle("GET /actions", answering(s.listActions, "state", "route", "older", "newer", "limit", "after"))
	mux.Handle("GET /actions/{id}", answering(func(w http.ResponseWriter, r *http.Request) error {
		a, err := s.gate.Action(r.Context(), r.PathValue("id"))
		if err != nil {
			return err
		}
		return answerJSON(w, a)
	}))
	mux.Handle("POST /actions/{id}/resolve", answering(func(w http.ResponseWriter, r *http.Request) error { return s.decide(w, r, "") }))
	mux.Handle("POST /actions/{id}/release", answering(func(w http.ResponseWriter, r *http.Request) error { return s.decide(w, r, core.AsUnused) }))
	mux.Handle("POST /actions/{id}/burn", answering(func(w http.ResponseWriter, r *http.Request) error { return s.decide(w, r, core.AsBurned) }))
	mux.Handle("POST /actions/{id}/free", answering(func(w http.ResponseWriter, r *http.Request) error {
		return answerNothing(w, s.gate.Free(r.Context(), r.PathValue("id"), "operator"))
	}))
	mux.Handle("GET /callbacks", answering(func(w http.ResponseWriter, r *http.Request) error {
		all, err := s.gate.UndeliveredCallbacks(r.Context())
		if err != nil {
			return err
		}
		return answerJSON(w, map[string]any{"undelivered": all})
	}))
	mux.Handle("POST /callbacks/{id}/retry", answering(func(w http.ResponseWriter, r *http.Request) error {
		return answerNothing(w, s.gate.Redeliver(r.Context(), r.PathValue("id"), "operator"))
	}))
	mux.Handle("POST /clock/confirm", answering(func(w http.ResponseWriter, _ *http.Request) error {
		s.opt.Log.Warn().Time("clock", s.opt.Clock()).Msg("somebody has confirmed the clock")
		s.gate.ConfirmClock()
		return answerNothing(w, nil)
	}))
	mux.Handle("POST /backup", answering(s.serveBackup, "dir", "ledger"))
}

// listActions answers with a page of actions.
func (s *server) listActions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := core.Filter{State: q.Get("state"), Route: q.Get("route"), After: q.Get("after")}
	var err error
	if f.Older, err = age(q, "older"); err != nil {
		return err
	}
	if f.Newer, err = age(q, "newer"); err != nil {
		return err
	}
	if text := q.Get("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 {
			return &requestError{"limit " + strconv.Quote(text) + " is not a number from 1 up"}
		}
	}
	page, err := s.gate.Actions(r.Context(), f)
	if err != nil {
		return err
	}
	for i := range page.Actions {
		page.Actions[i].Target = cut(page.Actions[i].Target)
	}
	return answerJSON(w, page)
}

// maxListed is how much of a target a list shows, in bytes. Clients choose targets, and an action alone is shown with all of it.
const maxListed = 512

func cut(target string) string {
	if len(target) <= maxListed {
		return target
	}
	return strings.ToValidUTF8(target[:maxListed], "") + "…"
}

// age reads a time like 90s or 1h.
func age(q url.Values, name string) (time.Duration, error) {
	text := q.Get(name)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, &requestError{name + " " + strconv.Quote(text) + " is not a time like 90s or 1h"}
	}
	return d, nil
}

// onlyKnown refuses parameters that nobody looks at, and those that are there twice: a filter that is misspelt would let everything through, a version that is would
// guard nothing, and nobody would be told.
func onlyKnown(where string, values url.Values, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case slices.Contains(known, name) && len(values[name]) > 1:
			return &requestError{fmt.Sprintf("%s has %s %d times", where, name, len(values[name]))}
		case slices.Contains(known, name):
		case len(known) == 0:
			return &requestError{fmt.Sprintf("%s has %q, and nothing is known here", where, name)}
		default:
			return &requestError{fmt.Sprintf("%s has %q, and known here are %s", where, name, strings.Join(known, ", "))}
		}
	}
	return nil
}

// A requestError is a request that makes no sense.
type requestError struct{ text string }

// Error says why.
func (e *requestError) Error() string { return e.text }

// maxForm is what a decision may have beside its response, in bytes; formMemory is how much of all that is held in memory, the rest lies in
// temporary files.
const (
	maxForm    = 64 << 10
	formMemory = 64 << 10
)

// sendTime is how long a decision, and the response with it, may take to arrive.
const sendTime = 2 * time.Minute

// decide takes a person's decision from a form: as, reason, by, version, status, and the file response.
func (s *server) decide(w http.ResponseWriter, r *http.Request, as core.Verdict) error {
	until := s.opt.Clock().Add(sendTime)
	rc := http.NewResponseController(w)
	if err := errors.Join(rc.SetReadDeadline(until), rc.SetWriteDeadline(until.Add(sendTime))); err != nil {
		return err
	}
	r.Body = http.MaxBytesReader(w, r.Body, int64(s.cfg.MaxResponse)+maxForm)
	err := r.ParseMultipartForm(formMemory) //nolint:gosec // bounded, one line above
	if r.MultipartForm != nil {
		defer func() { _ = r.MultipartForm.RemoveAll() }() // temporary files: no harm if they stay
	}
	if err != nil && !errors.Is(err, http.ErrNotMultipart) {
		if errors.As(err, new(*http.MaxBytesError)) {
			return err
		}
		return &requestError{"reading the form: " + err.Error()}
	}
	known := []string{"reason", "by", "version"}
	if as == "" {
		known = append(known, "as", "status")
	}
	if err := onlyKnown("the form", r.PostForm, known...); err != nil {
		return err
	}
	d := core.Decision{
		ID: r.PathValue("id"), As: as, Reason: r.PostFormValue("reason"), By: r.PostFormValue("by"), Seen: r.PostFormValue("version"),
	}
	if as == "" {
		d.As = core.Verdict(r.PostFormValue("as"))
		if d.As == core.AsBurned {
			return &requestError{"as: what is to be burned is not resolved (POST …/burn)"}
		}
	}
	if text := r.PostFormValue("status"); text != "" {
		if d.Status, err = strconv.Atoi(text); err != nil {
			return &requestError{"status " + strconv.Quote(text) + " is not a number"}
		}
	}
	response, err := responseIn(r)
	if err != nil {
		return &requestError{"reading the response: " + err.Error()}
	}
	if response != nil {
		defer func() { _ = response.Close() }() // read only
		d.Response = response
	}
	a, err := s.gate.Decide(r.Context(), d)
	if err != nil {
		return err
	}
	return answerJSON(w, a)
}

// responseIn returns the file of a form; nil where there is none.
func responseIn(r *http.Request) (io.ReadCloser, error) {
	if r.MultipartForm == nil {
		return nil, nil
	}
	names := url.Values{}
	for name, files := range r.MultipartForm.File {
		names[name] = make([]string, len(files))
	}
	if err := onlyKnown("the form's files", names, "response"); err != nil || len(names) == 0 {
		return nil, err
	}
	return r.MultipartForm.File["response"][0].Open()
}

// answerJSON answers with v.
func answerJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // a query would be six times as long
	_ = enc.Encode(v)        // the asker has gone: nothing to undo
	return nil
}

// answerNothing answers that it is done.
func answerNothing(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// answering answers with what went wrong, as text. The query may have what is known, and nothing else.
func answering(do func(http.ResponseWriter, *http.Request) error, known ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			err = &requestError{"reading the query: " + err.Error()}
		} else if err = onlyKnown("the query", q, known...); err == nil {
			err = do(w, r)
		}
		if err == nil {
			return
		}
		var conflict *core.ConflictError
		if errors.As(err, &conflict) {
			w.Header().Set("POE-State", conflict.State)
		}
		http.Error(w, err.Error(), codeOf(err))
	})
}

// codeOf is the status for an error.
func codeOf(err error) int {
	switch {
	case errors.Is(err, core.ErrNotUndelivered), errors.Is(err, core.ErrNoAction):
		return http.StatusNotFound
	case errors.As(err, new(*core.ConflictError)):
		return http.StatusConflict
	case errors.Is(err, core.ErrBadDecision), errors.Is(err, core.ErrBadFilter), errors.As(err, new(*requestError)):
		return http.StatusBadRequest
	case errors.Is(err, core.ErrTooLarge), errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge
	default:
		return http.StatusServiceUnavailable
	}
}
