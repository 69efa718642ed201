package shop_test

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/postonce/poe/internal/shop"
)

// A room is booked once for an action, which can be asked about and taken back; without one it is booked each time.
func TestBookings(t *testing.T) {
	s := shop.New(shop.Config{})
	book := func(target, action, room string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", target, strings.NewReader("room="+room))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("POE-Id", action)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	ask := func(method, target string) (int, string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, target, nil))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it was answered")
			}
		}()
		book("/bookings/repeat?fail=reset", "a", "7")
	}()
	if w := book("/bookings/repeat?fail=reset", "a", "8"); w.Code != 201 || strings.TrimSpace(w.Body.String()) != `{"room":"7"}` {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	if code, body := ask("GET", "/bookings/by-action/a"); code != 200 || body != `{"room":"7"}` {
		t.Errorf("asked: %d %s", code, body)
	}
	if code, _ := ask("GET", "/bookings/by-action/b"); code != 404 {
		t.Errorf("of another: %d", code)
	}
	for range 2 {
		if code, _ := ask("POST", "/bookings/cancel/a"); code != 204 {
			t.Errorf("taken back: %d", code)
		}
	}
	if w := book("/bookings/probe", "a", ""); w.Code != 422 {
		t.Errorf("without a room: %d", w.Code)
	}
	if code, body := ask("GET", "/bookings"); code != 200 || body != "[]" {
		t.Errorf("%d %s", code, body)
	}
	for n := range 101 {
		book("/bookings/probe", "", strconv.Itoa(n))
	}
	if _, body := ask("GET", "/bookings"); strings.Count(body, "room") != 100 || strings.Contains(body, `"0"`) {
		t.Errorf("%s", body)
	}
}
