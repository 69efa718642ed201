package poe_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/postonce/poe"
)

// What the constants of Consume say of an answer is what becomes of its action.
func TestConsume(t *testing.T) {
	for _, tc := range []struct {
		status       int
		after        string
		success, any string
	}{
		{200, "", "done", "done"},
		{303, "", "done", "done"},
		{500, "", "done", "done"},
		{404, "", "unused", "done"},
		{422, "", "unused", "done"},
		{429, "", "unused", "unused"}, // released
		{502, "", "unknown", "done"},
		{503, "", "unknown", "done"},
		{503, "1", "unused", "unused"},
		{504, "", "unknown", "done"},
		{522, "", "unknown", "done"},
	} {
		for consume, want := range map[poe.Consume]string{poe.ConsumeSuccess: tc.success, poe.ConsumeAny: tc.any} {
			gate := openGate(t, poe.Config{Routes: []poe.Route{{Match: "POST /a", Consume: consume}}})
			res := ask(gate.Once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.after != "" {
					w.Header().Set("Retry-After", tc.after)
				}
				w.WriteHeader(tc.status)
			})), "POST", "/a", "Idempotency-Key: "+strconv.Itoa(tc.status))
			if state, _, _ := strings.Cut(res.Header.Get("POE-State"), ";"); state != want {
				t.Errorf("consume %d, %d, Retry-After %q: %s, want %s", consume, tc.status, tc.after, state, want)
			}
		}
	}
}
