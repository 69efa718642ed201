package shop

import (
	"errors"
	"net/http"
	"slices"
)

// Bookings are for trying out recovery: this part of the shop has heard of POE-Id, and keeps it beside what it does. It recognises a
// request that comes again, tells what it did for an action, and takes it back. How a booking is recovered is the gateway's business, and only
// the path says it here, so that one shop can show it all.

const maxBookings = 100

type booking struct {
	Room   string `json:"room"`
	action string
}

func (s *Shop) bookingsOf() {
	s.mux.HandleFunc("GET /bookings", s.listBookings)
	s.mux.HandleFunc("POST /bookings/{how}", s.book)
	s.mux.HandleFunc("GET /bookings/by-action/{id}", s.showBooking)
	s.mux.HandleFunc("POST /bookings/cancel/{id}", s.cancelBooking)
}

// book books a room. With ?fail=reset the one who books for the first time never hears of it.
func (s *Shop) book(w http.ResponseWriter, r *http.Request) {
	t, err := readTrouble(r)
	room := r.PostFormValue("room")
	if err != nil || room == "" || len(room) > maxItem {
		refuse(w, r, http.StatusUnprocessableEntity, errors.New("room must have 1 to 100 characters"))
		return
	}
	b := booking{Room: room, action: r.Header.Get("POE-Id")}
	s.mu.Lock()
	at := s.bookingOf(b.action)
	if at < 0 {
		s.bookings = append(s.bookings, b)
		if len(s.bookings) > maxBookings {
			s.bookings = append(s.bookings[:0], s.bookings[1:]...)
		}
	} else {
		b = s.bookings[at]
	}
	s.mu.Unlock()
	if t.reset && at < 0 {
		panic(http.ErrAbortHandler)
	}
	answerJSON(w, http.StatusCreated, b)
}

// bookingOf returns where the booking of an action is, or -1. What came without an action is new each time. The caller holds the lock.
func (s *Shop) bookingOf(action string) int {
	return slices.IndexFunc(s.bookings, func(b booking) bool { return action != "" && b.action == action })
}

func (s *Shop) listBookings(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answerJSON(w, http.StatusOK, append([]booking{}, s.bookings...))
}

// showBooking tells what was done for an action.
func (s *Shop) showBooking(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.bookingOf(r.PathValue("id"))
	if at < 0 {
		refuse(w, r, http.StatusNotFound, errors.New("nothing was booked for that action"))
		return
	}
	answerJSON(w, http.StatusOK, s.bookings[at])
}

// cancelBooking takes back what was done for an action, if anything was.
func (s *Shop) cancelBooking(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.bookingOf(r.PathValue("id")); at >= 0 {
		s.bookings = slices.Delete(s.bookings, at, at+1)
	}
	w.WriteHeader(http.StatusNoContent)
}
