package shop

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// What is here beside orders is for the other ways of making a request safe to repeat: something that is paid once, a gift that the client
// numbers, notes with versions, and a place to be called back at.

const (
	maxNotes = 100
	maxNote  = 4 << 10 // bytes of a note, and of an event
	maxHooks = 20      // events that are remembered
)

type note struct {
	text    string
	version int
}

// patterns routes them.
func (s *Shop) patterns() {
	s.mux.HandleFunc("POST /orders/{id}/payment", s.pay)
	s.mux.HandleFunc("POST /gifts/{ref}", s.gift)
	s.mux.HandleFunc("GET /notes/{name}", s.readNote)
	s.mux.HandleFunc("PUT /notes/{name}", s.writeNote)
	s.mux.HandleFunc("DELETE /notes/{name}", s.deleteNote)
	s.mux.HandleFunc("POST /hooks", s.hook)
	s.mux.HandleFunc("GET /hooks", s.hooks)
}

// pay takes the money for an order, each time that it is asked to: it is an ordinary application.
func (s *Shop) pay(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.paid++
	n := s.paid
	s.mu.Unlock()
	answerJSON(w, http.StatusCreated, map[string]any{"order": r.PathValue("id"), "payment": n})
}

// gift sends one, each time.
func (s *Shop) gift(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.gifts++
	n := s.gifts
	s.mu.Unlock()
	answerJSON(w, http.StatusCreated, map[string]any{"gift": r.PathValue("ref"), "sent": n})
}

func (s *Shop) readNote(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n, ok := s.notes[r.PathValue("name")]
	s.mu.Unlock()
	if !ok {
		refuse(w, r, http.StatusNotFound, errors.New("there is no such note"))
		return
	}
	n.tell(w, http.StatusOK)
}

// writeNote honours If-Match and If-None-Match (RFC 9110, section 13.1), as an application with version tags does.
func (s *Shop) writeNote(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNote))
	if err != nil {
		refuse(w, r, http.StatusRequestEntityTooLarge, errors.New("that is too much for a note"))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	old, there := s.notes[name]
	switch match := r.Header.Get("If-Match"); {
	case match != "" && match != "*" && (!there || match != old.tag()), r.Header.Get("If-None-Match") == "*" && there:
		refuse(w, r, http.StatusPreconditionFailed, errors.New("the note is another one by now"))
		return
	case !there && len(s.notes) >= maxNotes:
		refuse(w, r, http.StatusInsufficientStorage, errors.New("there are too many notes"))
		return
	}
	s.written++
	next := note{text: string(text), version: s.written}
	s.notes[name] = next
	if there {
		next.tell(w, http.StatusOK)
		return
	}
	next.tell(w, http.StatusCreated)
}

func (s *Shop) deleteNote(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.notes[r.PathValue("name")]
	if !ok {
		refuse(w, r, http.StatusNotFound, errors.New("there is no such note"))
		return
	}
	delete(s.notes, r.PathValue("name"))
	answerJSON(w, http.StatusOK, map[string]any{"deleted": n.text})
}

func (n note) tag() string { return `"v` + strconv.Itoa(n.version) + `"` }

func (n note) tell(w http.ResponseWriter, status int) {
	w.Header().Set("ETag", n.tag())
	answerJSON(w, status, map[string]any{"note": n.text, "version": n.version})
}

// hook remembers an event that somebody tells the shop.
func (s *Shop) hook(w http.ResponseWriter, r *http.Request) {
	var event any
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNote)).Decode(&event); err != nil {
		refuse(w, r, http.StatusBadRequest, errors.New("that is no event"))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, heard{ID: r.Header.Get("Webhook-Id"), Signed: r.Header.Get("Webhook-Signature") != "", Event: event, At: s.cfg.Clock().UTC().Truncate(time.Second)})
	if len(s.heard) > maxHooks {
		s.heard = append(s.heard[:0], s.heard[1:]...)
	}
	w.WriteHeader(http.StatusNoContent)
}

// A heard is an event that came.
type heard struct {
	ID     string    `json:"id"`
	Signed bool      `json:"signed"`
	At     time.Time `json:"at"`
	Event  any       `json:"event"`
}

// hooks tells what came, and where to.
func (s *Shop) hooks(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answerJSON(w, http.StatusOK, map[string]any{"address": s.cfg.Hooks, "heard": append([]heard{}, s.heard...)})
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nothing to undo
}
